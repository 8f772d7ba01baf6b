"""Servers of one run's own, which can be stopped and killed. What they have acknowledged survives that."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from local_stack.children import Child, spawn
from local_stack.lock import locked
from local_stack.stack import Running, local_stack
from tests.support.mongo import Mongo
from tests.support.processes import family_of, kill_all
from tests.support.servers import Servers
from tests.support.valkey import Valkey

_START_WITHIN = 60.0


class Breakable(Protocol):
    """A server that a fault can be done to."""

    def pause(self) -> None:
        """Let its connections stay and answer nothing, as a process does that hangs."""
        ...

    def resume(self) -> None:
        """Let it answer again, and what it was asked meanwhile first."""
        ...

    async def kill(self) -> None:
        """End it without a chance to tidy up."""
        ...

    async def start(self) -> None:
        """Start it again with its data, at its address; return when it answers."""
        ...


@dataclass(slots=True)
class Packaged:
    """A server of the local stack."""

    running: Running
    child: Child

    def pause(self) -> None:
        for process in self._family():
            process.suspend()

    def resume(self) -> None:
        for process in self._family():
            process.resume()

    async def kill(self) -> None:
        kill_all(self._family())
        await self.child.exited()

    async def start(self) -> None:
        server = self.running.server
        await server.prepare()
        with self.running.log.opened() as output:
            self.child = await spawn(server.spec(), output=output.fileno())
        end = time.monotonic() + _START_WITHIN
        while time.monotonic() < end:
            with suppress(OSError):
                if await server.is_ready():
                    return
            await asyncio.sleep(0.02)
        raise AssertionError(self.running.log.tail())

    def _family(self) -> list[psutil.Process]:
        return family_of(self.child.process.pid)


@dataclass(frozen=True, slots=True)
class OwnServers:
    """Servers as tests know them, one more Redis for the broker, and how to break each."""

    servers: Servers
    broker_url: str
    breakable: Mapping[str, Breakable]


@asynccontextmanager
async def own_servers(directory: Path) -> AsyncIterator[OwnServers]:
    """Start them with their data in `directory`; end them afterwards, in any state."""

    def place(name: str) -> Path:
        made = directory / name
        made.mkdir(parents=True)
        return made

    async with AsyncExitStack() as stack:
        # That of the local stack loses what it acknowledged in the tenth of a second before a kill.
        mongo = stack.enter_context(Mongo(place("mongo")))
        redis = stack.enter_context(Valkey(place("redis")))
        broker = stack.enter_context(Valkey(place("broker")))
        lock = await stack.enter_async_context(locked(directory / "stack"))
        started = await stack.enter_async_context(
            local_stack(directory / "stack", lock, start=("postgres", "s3"))
        )
        packaged = {name: Packaged(one, one.child) for name, one in started.servers.items()}
        for each in packaged.values():
            stack.push_async_callback(each.kill)
        given = started.variables
        yield OwnServers(
            Servers(
                postgres_url=given["PORTICO_POSTGRES_URL"],
                redis_url=redis.url,
                mongo_url=mongo.url,
                s3_url=given["PORTICO_S3_URL"],
                s3_access_key=given["PORTICO_S3_ACCESS_KEY"],
                s3_secret_key=given["PORTICO_S3_SECRET_KEY"],
                s3_bucket=given["PORTICO_S3_BUCKET"],
            ),
            broker.url,
            {"redis": redis, "mongo": mongo, "broker": broker, **packaged},
        )
