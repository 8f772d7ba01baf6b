"""The client of a master that Sentinels watch. Each new connection asks them where it is."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff

from adapters.redis.client import RedisClient, connection_pool


class RedisSentinelClient(RedisClient):
    """A `RedisClient` of whichever server is the master."""

    run_id: ClassVar[str] = "run_id_of_master"

    def __init__(
        self, pool: BlockingConnectionPool, sentinel: Sentinel, *, timeout: timedelta
    ) -> None:
        super().__init__(pool, timeout=timeout)
        self._sentinel = sentinel

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - the driver's own
        await super().aclose(close_connection_pool)
        for sentinel in self._sentinel.sentinels:
            await sentinel.aclose()


class _Master:
    """What the driver's connections ask for the address of the master."""

    is_master = True
    check_connection = False

    def __init__(self, sentinel: Sentinel, name: str) -> None:
        self._sentinel = sentinel
        self._name = name
        self._address: tuple[str, int] | None = None
        self._asking = asyncio.Lock()
        self.pool: BlockingConnectionPool

    async def get_master_address(self) -> tuple[str, int]:
        # The driver changes the order of the Sentinels as it goes, and loses some if it is asked twice at once.
        async with self._asking:
            address = await self._discover()
        if address != self._address:
            self._address = address
            # The others may lead to a server that does not answer any more.
            await self.pool.disconnect(inuse_connections=False)
        return address

    async def _discover(self) -> tuple[str, int]:
        try:
            address: tuple[str, int] = await self._sentinel.discover_master(self._name)
        except MasterNotFoundError as error:
            # Its text has the settings of each Sentinel, but not why one cannot be asked. Asking raises that.
            await self._sentinel.sentinels[0].ping()
            reason = f"the Sentinels know no master named {self._name!r} that is up"
            raise exceptions.ConnectionError(reason) from error
        return address


def sentinel_client(urls: Sequence[str], timeout: timedelta) -> RedisClient:
    """Return a client of the master; `urls` are those of the Sentinels, with `/name of the master/database` each.

    User and password are those of the servers. The Sentinels have their own, `sentinel_username` and
    `sentinel_password` in the query.
    """
    parts = urlsplit(urls[0])
    _, name, *database = parts.path.split("/")
    query = dict(parse_qsl(parts.query))
    secrets = {key: query.pop(f"sentinel_{key}", None) for key in ("username", "password")}
    url = urlunsplit(parts._replace(path="/".join(["", *database]), query=urlencode(query)))

    options: dict[str, Any] = dict(parse_url(url))
    is_encrypted = options.pop("connection_class", None) is not None
    for own in ("host", "port", "db", "username", "password"):
        options.pop(own, None)
    sentinels = [urlsplit(each) for each in urls]
    # A Sentinel that does not answer leaves time for two others.
    patience = timeout.total_seconds() / 3
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # the driver's own gap
        [(each.hostname or "", each.port or 26379) for each in sentinels],
        sentinel_kwargs={
            **options,
            **secrets,
            "ssl": is_encrypted,
            "socket_connect_timeout": patience,
            "socket_timeout": patience,
            "retry": Retry(NoBackoff(), retries=0),
            "decode_responses": True,
            "protocol": 2,
        },
    )
    master = _Master(sentinel, name)
    managed = SentinelManagedSSLConnection if is_encrypted else SentinelManagedConnection
    master.pool = connection_pool(url, timeout, connection_pool=master)
    master.pool.connection_class = managed
    return RedisSentinelClient(master.pool, sentinel, timeout=timeout)
