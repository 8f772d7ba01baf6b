"""`EventEmitter` keeps its promises in memory and over Redis, and python-socketio understands it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from socketio.async_pubsub_manager import AsyncPubSubManager

from adapters.memory.event_emitter import MemoryEventEmitter
from adapters.redis.client import redis_client
from adapters.redis.event_emitter import RedisEventEmitter
from application.ports.event_emitter import LARGEST_GAP, Audience, EventEmitter
from application.settings import RedisSettings
from domain.connections import ConnectionId
from domain.identity import UserId
from domain.sessions import SessionId
from tests.support.builders import a_room_id, a_uuid
from tests.support.redis_clock import Backend

ON_A_CLUSTER = True

ROOM = Audience.room(a_room_id())
SID = ConnectionId("a-sid")


@pytest.fixture
def emitters(backend: Backend) -> Sequence[EventEmitter]:
    """Return the emitters of two processes."""
    if backend.redis is None:
        return [MemoryEventEmitter()] * 2
    return [RedisEventEmitter(backend.redis), RedisEventEmitter(backend.redis)]


@pytest.fixture
def emitter(emitters: Sequence[EventEmitter]) -> EventEmitter:
    return emitters[0]


class Heard(list[dict[str, Any]]):
    """What a process heard."""

    async def until(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(10):
            while len(self) < count:  # noqa: ASYNC110 - what is heard is a list
                await asyncio.sleep(0.001)
        return self[:]


@asynccontextmanager
async def listening(emitter: EventEmitter) -> AsyncIterator[Heard]:
    heard = Heard()
    ready = asyncio.Event()

    async def listen() -> None:
        async for message in emitter.listen():
            read = json.loads(message)
            if read == {"method": "test"}:
                ready.set()
            else:
                heard.append(read)

    task = asyncio.create_task(listen())
    async with asyncio.timeout(10):
        while not ready.is_set():
            await emitter.publish('{"method": "test"}')
            await asyncio.sleep(0.005)
    yield heard
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def numbers(heard: list[dict[str, Any]]) -> list[int]:
    return [message["data"][0]["n"] for message in heard]


class Writer(AsyncPubSubManager):  # type: ignore[misc]  # it has no types
    """python-socketio's own writer."""

    async def _publish(self, data: dict[str, Any]) -> None:
        self.published = data | {"host_id": "portico"}


async def test_each_message_is_what_python_socketio_would_publish(emitter: EventEmitter) -> None:
    writer = Writer(write_only=True)
    expected = []
    for command in (
        writer.emit("chat.receive", {"text": "🦊"}, namespace="/", room=ROOM.name),
        writer.emit("notification", {}, namespace="/"),
        writer.leave_room(SID, "/", ROOM.name),
        writer.close_room(ROOM.name, "/"),
        writer.can_disconnect(SID, "/"),
    ):
        await command
        expected.append(writer.published)

    async with listening(emitter) as heard:
        await emitter.emit("chat.receive", {"text": "🦊"}, ROOM)
        await emitter.emit("notification", {}, Audience.everyone())
        await emitter.remove_from_room(SID, ROOM)
        await emitter.close_room(ROOM)
        await emitter.disconnect(SID)
        assert await heard.until(5) == expected


def test_the_names_of_audiences_are_those_of_socket_io_rooms() -> None:
    some_id = a_uuid()
    assert [
        audience.name
        for audience in (
            Audience.user(UserId(some_id)),
            Audience.session(SessionId(some_id)),
            Audience.connection(SID),
            Audience.everyone(),
        )
    ] == [f"user:{some_id}", f"session:{some_id}", "a-sid", None]


async def test_all_processes_hear_the_same_in_the_same_order(
    emitters: Sequence[EventEmitter],
) -> None:
    async with listening(emitters[0]) as here, listening(emitters[1]) as there:
        await asyncio.gather(*(emitters[n % 2].emit("an.event", {"n": n}, ROOM) for n in range(50)))
        assert numbers(await here.until(50)) == numbers(await there.until(50))
        assert sorted(numbers(here)) == [*range(50)]


async def test_many_events_are_sent_in_their_order(
    emitter: EventEmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.redis.event_emitter._EMITTED_AT_ONCE", 3)
    rooms = [Audience.room(a_room_id()) for _ in range(7)]
    async with listening(emitter) as heard:
        await emitter.emit_each("an.event", [])
        await emitter.emit_each("an.event", [({"n": n}, room) for n, room in enumerate(rooms)])
        assert numbers(await heard.until(7)) == [*range(7)]
        assert [message["room"] for message in heard] == [room.name for room in rooms]


async def emit_number(emitter: EventEmitter, n: int, to: Audience = ROOM) -> int:
    return await emitter.emit_numbered("chat.receive", {"n": n}, to, number=n)


async def test_numbered_events_are_sent_once_each(emitters: Sequence[EventEmitter]) -> None:
    async with listening(emitters[0]) as heard:
        for n in (1, 2, 3):
            assert [await emit_number(emitter, n) for emitter in emitters] == [n, n]
        assert await emit_number(emitters[0], 2) == 2
        await emitters[0].emit("the.end", {"n": 0}, ROOM)
        assert numbers(await heard.until(4)) == [1, 2, 3, 0]


async def test_a_numbered_event_waits_for_those_before_it(emitters: Sequence[EventEmitter]) -> None:
    async with listening(emitters[0]) as heard:
        assert await emit_number(emitters[0], 1) == 1
        assert await emit_number(emitters[1], 3) == 1
        assert await emit_number(emitters[1], 2) == 2
        assert await emit_number(emitters[1], 3) == 3
        assert numbers(await heard.until(3)) == [1, 2, 3]


async def test_each_audience_has_numbers_of_its_own(emitter: EventEmitter) -> None:
    async with listening(emitter) as heard:
        assert await emit_number(emitter, 7) == 7
        assert await emit_number(emitter, 3, Audience.room(a_room_id())) == 3
        assert numbers(await heard.until(2)) == [7, 3]


async def test_a_gap_that_is_too_large_is_ignored(emitter: EventEmitter) -> None:
    await emit_number(emitter, 1)
    assert await emit_number(emitter, 1 + LARGEST_GAP) == 1
    assert await emit_number(emitter, 2 + LARGEST_GAP) == 2 + LARGEST_GAP


@pytest.mark.server
async def test_installations_in_databases_of_one_server_do_not_hear_each_other(
    redis_url: str,
) -> None:
    address, _, number = redis_url.rpartition("/")
    clients = [
        redis_client(RedisSettings(url=url)) for url in (redis_url, f"{address}/{int(number) ^ 1}")
    ]
    ours, theirs = [RedisEventEmitter(client) for client in clients]
    async with listening(ours) as heard:
        await theirs.emit("theirs", {}, ROOM)
        await ours.emit("ours", {}, ROOM)
        assert [each["event"] for each in await heard.until(1)] == ["ours"]
    for client in clients:
        await client.aclose()
