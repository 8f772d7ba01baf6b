"""What becomes of events, and of those who emit them, when Redis is slow, gone, and back."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from adapters.redis.client import redis_client
from adapters.redis.connections import RedisConnectionRegistry
from adapters.redis.event_emitter import RedisEventEmitter
from application.ports.event_emitter import Audience
from application.settings import RedisSettings
from domain.connections import ConnectionId
from domain.rooms import RoomKind
from tests.support.builders import a_room, a_user
from tests.support.link import Link, link_to
from tests.support.world import World

ALL = Audience.everyone()
TIMEOUT = timedelta(seconds=0.3)
SOON = 3.0
"""Seconds; ten times `TIMEOUT`, because the machine may be busy."""


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    async with link_to(redis_url) as link:
        yield link


@pytest.fixture
async def emitter(redis_url: str, link: Link) -> AsyncIterator[RedisEventEmitter]:
    client = redis_client(RedisSettings(url=link.url(redis_url), timeout=TIMEOUT))
    yield RedisEventEmitter(client)
    await client.aclose()


@pytest.mark.parametrize("outage", ["freeze", "cut"])
async def test_an_event_that_cannot_be_sent_is_lost_in_time_and_no_caller_fails(
    emitter: RedisEventEmitter, link: Link, outage: str, caplog: pytest.LogCaptureFixture
) -> None:
    await emitter.emit("before", {}, ALL)
    link.freeze() if outage == "freeze" else await link.cut()
    began = time.monotonic()

    await emitter.emit("lost", {}, ALL)
    assert await emitter.emit_numbered("lost", {}, ALL, number=1) == 1
    await emitter.disconnect(ConnectionId("a-sid"))

    assert time.monotonic() - began < SOON
    assert len([each for each in caplog.records if "An event is lost" in each.message]) == 3


async def heard_until(emitter: RedisEventEmitter, event: str) -> list[str]:
    """Return the events that are heard up to this one."""
    heard: list[str] = []
    async with aclosing(emitter.listen()) as messages:  # type: ignore[type-var]  # it is a generator
        async for message in messages:
            heard.append(json.loads(message)["event"])
            if heard[-1] == event:
                break
    return heard


async def test_a_listener_goes_on_after_an_outage(emitter: RedisEventEmitter, link: Link) -> None:
    listening = asyncio.create_task(heard_until(emitter, "the end"))

    async def emit_until_heard(event: str, done: Any) -> None:
        async with asyncio.timeout(20):
            while not done():
                await emitter.emit(event, {}, ALL)
                await asyncio.sleep(0.02)

    await asyncio.sleep(0.1)
    await emitter.emit("first", {}, ALL)
    await link.cut()
    await emitter.emit("lost", {}, ALL)
    await link.mend()
    await emit_until_heard("the end", listening.done)
    assert set(await listening) <= {"first", "the end"}


async def test_a_change_is_committed_although_its_events_are_lost(
    redis_url: str, link: Link
) -> None:
    """Only what must be read from Redis fails; what is stored is stored."""
    client = redis_client(RedisSettings(url=link.url(redis_url), timeout=TIMEOUT))
    world = World(
        event_emitter=RedisEventEmitter(client),
        connection_registry=RedisConnectionRegistry(client),
    )
    ada, _ = await world.log_in_as(await world.given(a_user()))
    bob = await world.given(a_user())
    room = await world.given_room(a_room(kind=RoomKind.PRIVATE, owner=ada.user_id))
    await link.cut()

    message = await world.container.send_message()(ada, room.id, "Hello")
    await world.container.add_member()(ada, room.id, bob.id)
    await world.container.remove_member()(ada, room.id, bob.id)

    history = await world.container.read_history()(ada, room.id, limit=10)
    assert list(history.messages) == [message]
    await world.container.delete_room()(ada, room.id)
    assert [entry.action for entry in world.audit_entries()][-3:] == [
        "rooms.member_added",
        "rooms.member_removed",
        "rooms.deleted",
    ]
    await client.aclose()
    world.end()
