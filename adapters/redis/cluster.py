"""The client of a Redis Cluster: a client per master, and the map that says which of them has a key.

The driver has one, too. It sends ASKING over another connection than the command that it is for, sends commands again
behind the caller's back, fails instead of waiting for a connection, and costs twice as much.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit, urlunsplit

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError

from adapters.redis.client import (
    Command,
    RedisClient,
    SpanOf,
    name_of,
    no_span,
    redis_client,
    unavailable_when_down,
)
from application.settings import RedisSettings
from domain.errors import Unavailable

_SLOTS = 16384
_REDIRECTIONS = 5
_MAP_LASTS = 0.1
"""Seconds for which a map that led to a failure is used on: every call would ask for it during a fail-over."""

_Address = tuple[str, int]


class RedisClusterClient:
    """Sends each command to the master of its key, within the time-out.

    A script and its keys are one command, so all of them must lie in one slot.
    """

    run_id: ClassVar[str] = "run_id_of_master"
    database: ClassVar[int] = 0

    def __init__(self, urls: Sequence[str], settings: RedisSettings) -> None:
        self._url = urlsplit(urls[0])
        self._settings = settings
        self._timeout = settings.timeout.total_seconds()
        self.span_of: SpanOf = no_span
        self._clients: dict[_Address, RedisClient] = {}
        self._first = [self._client_of(_address(url)) for url in urls]
        self._masters: list[RedisClient | None] = []
        """By slot."""
        self._must_ask = True
        self._asked_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    @property
    def is_encrypted(self) -> bool:
        """Whether the address demands TLS."""
        return self._first[0].is_encrypted

    async def aclose(self) -> None:
        """Close all connections."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError, Unavailable):
                await self._asking
        for client in self._clients.values():
            await client.aclose()

    async def execute(self, *args: str | int) -> object:
        """Execute a command where its first key is."""
        with self.span_of(name_of(args)):
            return await self._execute(RedisClient.execute, args)

    async def execute_held(self, *args: str | int) -> object:
        """Execute a command over the kept connection to the master of its first key; one call at a time."""
        return await self._execute(RedisClient.execute_held, args)

    async def execute_at(
        self, master: RedisClient, commands: Sequence[Command]
    ) -> Sequence[object]:
        """Execute commands at the master of their keys in one round trip; return the answer of each, or its error."""
        try:
            return await master.execute_each(commands)
        except Unavailable:
            self._must_ask = True
            raise

    async def release_held(self) -> None:
        """End the connections that are kept."""
        for client in self._clients.values():
            await client.release_held()

    async def server_of(self, key: str) -> RedisClient:
        """Return the client of the master that has a key, or a channel."""
        return await self._master_of(key_slot(key.encode()))

    async def servers(self) -> Sequence[RedisClient]:
        """Return the client of each master."""
        _ = await self._master_of(0)
        return [*dict.fromkeys(client for client in self._masters if client is not None)]

    async def _execute(
        self, execute: Callable[..., Awaitable[object]], args: tuple[str | int, ...]
    ) -> object:
        key = args[3] if args[0] in {"EVALSHA", "EVAL"} else args[1]
        slot = key_slot(str(key).encode())
        try:
            with unavailable_when_down():
                async with asyncio.timeout(self._timeout):
                    return await self._follow(execute, slot, args)
        except Unavailable:
            self._must_ask = True
            raise

    async def _follow(
        self, execute: Callable[..., Awaitable[object]], slot: int, args: tuple[str | int, ...]
    ) -> object:
        """Execute it where the map says, and then where the masters say."""
        for _ in range(_REDIRECTIONS):
            client = await self._master_of(slot)
            try:
                return await execute(client, *args)
            except MovedError as moved:
                self._masters[slot] = self._client_of((moved.host or client.host, moved.port))
                self._must_ask = True
            except AskError as ask:
                # This slot is moving. The key is there already, and only the next command is let in.
                there = self._client_of((ask.host or client.host, ask.port))
                _, answer = await there.execute_each([("ASKING",), args])
                if isinstance(answer, Exception):
                    raise answer from ask
                return answer
        raise Unavailable("Redis", reason="its nodes do not agree about who has a key")

    async def _master_of(self, slot: int) -> RedisClient:
        now = asyncio.get_running_loop().time()
        if self._must_ask and not (self._masters and now < self._asked_at + _MAP_LASTS):
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
            # Others wait for it as well, so it outlives a caller that gives up.
            await asyncio.shield(self._asking)
        master = self._masters[slot]
        if master is None:
            raise Unavailable("Redis", reason=f"no node of the cluster serves slot {slot}")
        return master

    async def _ask(self) -> None:
        """Ask all nodes for the map, and take the first that comes."""
        # Not those that left the cluster: they remember an old map.
        known = dict.fromkeys(client for client in (*self._first, *self._masters) if client)
        asked = [asyncio.create_task(self._map_of(client)) for client in known]
        failure = Unavailable("Redis")
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    self._masters = await answer
                except Unavailable as error:
                    failure = error
                else:
                    self._must_ask = False
                    return
            raise failure
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            self._asked_at = asyncio.get_running_loop().time()
            self._asking = None

    async def _map_of(self, client: RedisClient) -> list[RedisClient | None]:
        """Return the masters by slot, as one node sees them."""
        try:
            ranges = cast("list[list[Any]]", await client.execute("CLUSTER", "SLOTS"))
        except ResponseError as error:
            raise Unavailable("Redis", reason=f"it is no Redis Cluster: {error}") from error
        masters: list[RedisClient | None] = [None] * _SLOTS
        for first, last, (host, port, *_), *_replicas in ranges:
            # A node that does not know its name is where it was asked.
            master = self._client_of((client.host if host in {"", "?", None} else host, port))
            masters[first : last + 1] = [master] * (last + 1 - first)
        if not ranges:
            raise Unavailable("Redis", reason="the cluster has no slots")
        return masters

    def _client_of(self, address: _Address) -> RedisClient:
        client = self._clients.get(address)
        if client is None:
            host, port = address
            user = self._url.netloc.rpartition("@")[0]
            netloc = f"{user and f'{user}@'}{f'[{host}]' if ':' in host else host}:{port}"
            url = urlunsplit(self._url._replace(netloc=netloc))
            client = self._clients[address] = redis_client(
                RedisSettings(url=url, timeout=self._settings.timeout)
            )
        return client


def _address(url: str) -> _Address:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 6379
