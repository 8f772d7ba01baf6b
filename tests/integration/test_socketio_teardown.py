"""Ten thousand events with generator dependencies over the socket: every teardown ran, and nothing is left."""

import asyncio
import gc
import json
import random
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated

import psutil
import pytest
from pydantic import BaseModel

from entrypoints.socketio.errors import Code, SocketError
from entrypoints.socketio.limits import Limits
from entrypoints.socketio.parameters import SID, Depends
from entrypoints.socketio.server import AsyncServer
from tests.support.sockets import raw, serving
from tests.support.waiting import until

CONNECTIONS, EVENTS = 50, 200
HOW = ("answer", "refuse", "wait", "slowly")


class Work(BaseModel):
    """What a handler does."""

    how: str


class Fault(Exception):
    """What a handler raises."""


@dataclass(slots=True)
class Ledger:
    """What was opened and closed."""

    opened: int = 0
    committed: int = 0
    rolled_back: int = 0
    entered: int = 0
    left: int = 0
    disconnected: int = 0

    @property
    def closed(self) -> int:
        """How many transactions have ended."""
        return self.committed + self.rolled_back


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def sio(ledger: Ledger) -> AsyncServer:
    async def transaction() -> AsyncIterator[None]:
        ledger.opened += 1
        try:
            yield
        except BaseException:
            ledger.rolled_back += 1
            raise
        ledger.committed += 1

    def resource(_: Annotated[None, Depends(transaction)]) -> Iterator[None]:
        ledger.entered += 1
        try:
            yield
        finally:
            ledger.left += 1

    sio = AsyncServer(limits=Limits(rate=1e6, burst=10**6, max_in_flight=10**6))

    @sio.event
    async def work(data: Work, _: Annotated[None, Depends(resource)]) -> str:
        match data.how:
            case "refuse":
                raise SocketError(Code.NOT_ALLOWED, "not now")
            case "wait":
                await asyncio.sleep(0.2)
                raise Fault
            case "slowly":
                await asyncio.sleep(0.01)
            case _:
                pass
        return data.how

    @sio.event
    async def disconnect(sid: SID) -> None:
        ledger.disconnected += 1

    @sio.exception_handler(Fault)
    def refuse(_: Fault) -> SocketError:
        return SocketError(Code.TRY_AGAIN, "later")

    return sio


async def send(url: str, chance: random.Random) -> None:
    """Send events, and vanish while most of them are being handled."""
    async with raw(url) as client:
        for number in range(EVENTS):
            await client.send(f"42{number}{json.dumps(['work', {'how': chance.choice(HOW)}])}")
        client.connection.transport.abort()


def held() -> tuple[int, int]:
    """Return how many tasks and file descriptors there are."""
    gc.collect()
    return len(asyncio.all_tasks()), psutil.Process().num_fds()


async def test_every_teardown_runs_even_if_handlers_and_connections_fail(
    sio: AsyncServer, ledger: Ledger
) -> None:
    chance = random.Random(11)  # noqa: S311 - the same each time
    async with serving(sio) as url:

        async def settled(connections: int) -> None:
            await until(lambda: ledger.disconnected == connections)
            await until(lambda: ledger.closed == ledger.opened)

        await send(url, chance)
        await settled(1)
        before = held()
        blocks = list[int]()
        for number in range(1, CONNECTIONS // 10 + 1):
            await asyncio.gather(*(send(url, chance) for _ in range(10)))
            await settled(number * 10 + 1)
            await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))
            blocks.append(sys.getallocatedblocks())
        assert sio.connection_count == 0

    # An object that is kept for each event is a block of memory, or several, beside what fills caches.
    assert blocks[-1] - blocks[0] < (CONNECTIONS - 10) * EVENTS
    assert ledger.opened > CONNECTIONS * EVENTS * 0.9  # what was sent before an end was cut off
    assert ledger.entered == ledger.left == ledger.opened
    assert ledger.committed > 0
    assert ledger.rolled_back > 0
