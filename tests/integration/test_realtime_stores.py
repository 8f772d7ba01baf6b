"""Two processes of the API over real stores, each with a container of its own, and clients of both."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import pytest
from socketio import AsyncClient

import bootstrap
from adapters.system import SystemClock
from application.ports.event_emitter import Audience
from application.settings import (
    Environment,
    MongoSettings,
    PostgresSettings,
    RedisSettings,
    S3Settings,
    SessionSettings,
    Settings,
)
from application.use_cases.caller import Caller
from bootstrap import Container
from domain.identity import User, UserStatus
from domain.rooms import RoomId, RoomKind, RoomName
from entrypoints.api import create_api
from tests.support.access_changes import changing
from tests.support.builders import a_role, a_user
from tests.support.clock import HOUR, MovableClock
from tests.support.http_server import serving
from tests.support.keys import key_settings
from tests.support.link import Link, link_to
from tests.support.sessions import ABSOLUTE, IDLE, a_session
from tests.support.sockets import Received, connected
from tests.support.world import LAPTOP

IN_FORCE = 1.0
"""Seconds."""

OUTAGE = 2.0
"""Seconds: several periods of the sweeper."""


class ClockAhead(SystemClock):
    """The clock of the machine, and what a test adds."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@dataclass(frozen=True, slots=True)
class Fleet:
    """Two processes, and what is stored."""

    containers: list[Container]
    urls: list[str]
    clock: ClockAhead
    to_redis: Link
    """The way of the second process to Redis."""

    @property
    def container(self) -> Container:
        return self.containers[0]

    async def given_user(self) -> User:
        user, role = a_user(), a_role("EVENT:**")
        async with self.container.uow() as uow:
            await uow.users.add(user)
            await uow.roles.add(role)
            await uow.roles.assign(user.id, [role.id])
            await uow.commit()
        return user

    async def log_in(
        self, user: User, *, expires_in: timedelta | None = None
    ) -> tuple[Caller, dict[str, str]]:
        """Open a session; return the caller, and what a client authenticates with."""
        opened = await self.container.session_store().open(
            a_session(user_id=user.id), idle=IDLE, absolute=ABSOLUTE, cap=20
        )
        issue = self.container.issue_tokens()
        if expires_in is not None:
            issue = replace(issue, settings=SessionSettings(access_lifetime=expires_in))
        token = issue(opened.session).access_token
        return await self.container.guard()(token, LAPTOP), {"token": token}


class Member:
    """A client in a room."""

    def __init__(self, client: AsyncClient, room_id: RoomId) -> None:
        self._client = client
        self._room_id = room_id
        self.messages = Received(client, "chat.receive")
        self._errors = Received(client, "error")
        self.end = Received(client, "end")

    async def call(self, event: str, **data: str) -> Any:
        """Return the ack."""
        return await self._client.call(event, {"room": str(self._room_id), **data})

    async def next(self) -> str:
        """Return the text of the next message."""
        text: str = (await self.messages.next())["text"]
        return text

    async def told(self) -> None:
        """Wait for the error that no event of the client's own caused: that its access has ended."""
        while (await self._errors.next())["event"] == "chat.send":
            pass


async def in_force(members: Sequence[Member]) -> None:
    """Wait until each is told that its access has ended."""
    async with asyncio.timeout(IN_FORCE):
        for member in members:
            await member.told()


@pytest.fixture
async def fleet(
    postgres_url: str, redis_url: str, mongo_url: str, mongo_database: str, s3_settings: S3Settings
) -> AsyncIterator[Fleet]:
    settings = Settings(
        environment=Environment.TESTING,
        postgres=PostgresSettings(url=postgres_url),
        redis=RedisSettings(url=redis_url),
        mongo=MongoSettings(url=mongo_url, database=mongo_database),
        s3=s3_settings,
        keys=key_settings(),
    )
    async with AsyncExitStack() as stack:
        to_redis = await stack.enter_async_context(link_to(redis_url))
        through_link = replace(settings, redis=RedisSettings(url=to_redis.url(redis_url)))
        containers = [bootstrap.build(each) for each in (settings, through_link)]
        clock = ClockAhead()
        for container in containers:
            container.clock.override(clock)
        urls = [
            f"http://127.0.0.1:{port}"
            for container in containers
            for port in [
                await stack.enter_async_context(serving(create_api(container=container), settings))
            ]
        ]
        yield Fleet(containers, urls, clock, to_redis)


async def test_an_event_of_one_process_arrives_once_at_the_clients_of_both(
    fleet: Fleet,
) -> None:
    ada = await fleet.given_user()
    caller, auth = await fleet.log_in(ada)
    async with (
        connected(fleet.urls[0], auth=auth) as here,
        connected(fleet.urls[1], auth=auth) as there,
    ):
        room = await fleet.container.create_room()(caller, RoomName("Tea"), RoomKind.OPEN)
        received = [Received(client, "chat.receive") for client in (here, there)]
        for client in (here, there):
            await client.call("room.join", {"room": str(room.id)})
        sent = [
            (await client.call("chat.send", {"room": str(room.id), "text": str(number)}))["message"]
            for number, client in enumerate([here, there, there, here])
        ]

        for each in received:
            assert [await each.next() for _ in sent] == sent
            assert each.is_empty()
        assert [message["seq"] for message in sent] == [1, 2, 3, 4]
        listed = await fleet.containers[1].list_connections()(limit=10)
        assert {each.id for each in listed} == {here.get_sid(), there.get_sid()}
        gone = asyncio.Event()
        there.on("disconnect", lambda *_: gone.set())
        await fleet.container.end_connection()(caller, there.get_sid())
        async with asyncio.timeout(5):
            await gone.wait()


async def test_a_deleted_room_is_gone_on_every_process_and_then_its_messages(fleet: Fleet) -> None:
    caller, auth = await fleet.log_in(await fleet.given_user())
    room = await fleet.container.create_room()(caller, RoomName("Tea"), RoomKind.PRIVATE)
    reference = {"room": str(room.id)}
    async with connected(fleet.urls[1], auth=auth) as there:
        deleted, late = Received(there, "room.deleted"), Received(there, "late")
        end = Received(there, "end")
        await there.call("room.join", reference)
        await there.call("chat.send", reference | {"text": "Hello"})
        await fleet.container.delete_room()(caller, room.id)

        assert await deleted.next() == reference
        emitter = fleet.container.event_emitter()
        await emitter.emit("late", {}, Audience.room(room.id))
        await emitter.emit("end", {}, Audience.user(caller.user_id))
        await end.next()
        assert late.is_empty()
        for event, data in {
            "room.join": {},
            "chat.send": {"text": "x"},
            "chat.history": {},
        }.items():
            assert (await there.call(event, reference | data))["error"]["code"] == 1008
    assert await fleet.container.connection_registry().present(room.id) == []

    history = fleet.container.message_history()
    assert len((await history.after(room.id, 0, limit=10)).messages) == 1
    later = MovableClock(fleet.container.clock().now() + HOUR)
    assert await replace(fleet.container.purge_rooms(), clock=later)() == 1
    assert len((await history.after(room.id, 0, limit=10)).messages) == 0


@pytest.mark.parametrize("is_redis_cut", [False, True])
async def test_a_user_who_may_not_connect_any_more_is_disconnected_within_a_second_on_every_process(
    fleet: Fleet, *, is_redis_cut: bool
) -> None:
    """A process that cannot reach Redis serves no event, and ends access within a second of the return of Redis."""
    stays, ended, disabled, demoted, expiring = [await fleet.given_user() for _ in range(5)]
    owner, auth = await fleet.log_in(stays)
    room = await fleet.container.create_room()(owner, RoomName("Tea"), RoomKind.OPEN)
    async with AsyncExitStack() as stack:

        async def members(auth: dict[str, str]) -> list[Member]:
            """Join the room at each process."""
            return [
                Member(await stack.enter_async_context(connected(url, auth=auth)), room.id)
                for url in fleet.urls
            ]

        staying = await members(auth)
        ended_caller, auth = await fleet.log_in(ended)
        leaving = [
            await members(each)
            for each in (
                auth,
                (await fleet.log_in(disabled))[1],
                (await fleet.log_in(demoted))[1],
                (await fleet.log_in(expiring, expires_in=timedelta(minutes=1)))[1],
            )
        ]
        for member in [*staying, *chain(*leaving)]:
            assert "error" not in await member.call("room.join")
        here, there = zip(*leaving, strict=True)
        if is_redis_cut:
            await fleet.to_redis.cut()

        await fleet.container.session_store().end(ended.id, ended_caller.session_id)
        changed = [disabled.id, demoted.id]
        async with changing(fleet.container.uow, fleet.container.commit_access(), changed) as uow:
            stored = await uow.users.lock(disabled.id)
            stored.status = UserStatus.DISABLED
            await uow.users.save(stored)
            await uow.users.lock(demoted.id)
            await uow.roles.assign(demoted.id, [])
        await in_force(here[:3])
        if is_redis_cut:
            await asyncio.sleep(OUTAGE)
            for member in [*there, staying[1]]:
                assert "error" in await member.call("chat.send", text="x")
            assert "error" not in await staying[0].call("chat.send", text="meanwhile")
            assert await staying[0].next() == "meanwhile"
        fleet.clock.ahead = timedelta(minutes=2)
        await in_force([here[3], there[3]])  # needs nothing of Redis
        assert all(member.messages.is_empty() for member in [*there, staying[1]])
        if is_redis_cut:
            await fleet.to_redis.mend()
        await in_force(there[:3])

        async with asyncio.timeout(10):
            while staying[1].messages.is_empty():
                await staying[0].call("chat.send", text="afterwards")
                await asyncio.sleep(0.1)
        assert (await there[2].call("chat.send", text="x"))["error"]["code"] == 1008
        await fleet.container.event_emitter().emit("end", {}, Audience.user(demoted.id))
        for member in (here[2], there[2]):
            await member.end.next()
        assert all(member.messages.is_empty() for member in [*here[:3], *there])
