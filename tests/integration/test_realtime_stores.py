"""Two processes of the API over real stores, each with a container of its own, and clients of both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

import bootstrap
from application.ports.event_emitter import Audience
from application.settings import (
    Environment,
    MongoSettings,
    PostgresSettings,
    RedisSettings,
    S3Settings,
    Settings,
)
from application.use_cases.access.change import CommitAccessChange
from application.use_cases.caller import Caller
from bootstrap import Container
from domain.identity import User, UserStatus
from domain.rooms import RoomKind, RoomName
from entrypoints.api import create_api
from tests.support.access_changes import changing
from tests.support.builders import a_role, a_user
from tests.support.clock import HOUR, MovableClock
from tests.support.http_server import serving
from tests.support.keys import key_settings
from tests.support.sessions import ABSOLUTE, IDLE, a_session
from tests.support.sockets import Received, connected
from tests.support.world import LAPTOP

IN_FORCE = 1.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Two processes, and what is stored."""

    containers: list[Container]
    urls: list[str]

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

    async def log_in(self, user: User) -> tuple[Caller, dict[str, str]]:
        """Open a session; return the caller, and what a client authenticates with."""
        opened = await self.container.session_store().open(
            a_session(user_id=user.id), idle=IDLE, absolute=ABSOLUTE, cap=20
        )
        token = self.container.issue_tokens()(opened.session).access_token
        return await self.container.guard()(token, LAPTOP), {"token": token}


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
        containers = [bootstrap.build(settings) for _ in range(2)]
        urls = [
            f"http://127.0.0.1:{port}"
            for container in containers
            for port in [
                await stack.enter_async_context(serving(create_api(container=container), settings))
            ]
        ]
        yield Fleet(containers, urls)


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


@pytest.mark.parametrize("is_channel_cut", [False, True])
async def test_a_user_who_may_not_connect_any_more_is_disconnected_within_a_second_on_every_process(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, *, is_channel_cut: bool
) -> None:
    """Also when no process hears of another: each asks the stores."""
    if is_channel_cut:
        for container in fleet.containers:
            monkeypatch.setattr(container.event_emitter(), "publish", _lost)
    users = [await fleet.given_user() for _ in range(2)]
    logged_in = [await fleet.log_in(user) for user in users]
    commit: CommitAccessChange = fleet.container.commit_access()
    async with AsyncExitStack() as stack:

        async def ends_of(auth: dict[str, str]) -> list[Received]:
            clients = [
                await stack.enter_async_context(connected(url, auth=auth)) for url in fleet.urls
            ]
            return [Received(client, "disconnect") for client in clients]

        ended, disabled = [await ends_of(auth) for _, auth in logged_in]
        await fleet.container.session_store().end(users[0].id, logged_in[0][0].session_id)
        async with asyncio.timeout(IN_FORCE):
            for each in ended:
                await each.next()
        assert all(each.is_empty() for each in disabled)

        async with changing(fleet.container.uow, commit, [users[1].id]) as uow:
            stored = await uow.users.lock(users[1].id)
            stored.status = UserStatus.DISABLED
            await uow.users.save(stored)
        async with asyncio.timeout(IN_FORCE):
            for each in disabled:
                await each.next()


async def _lost(_message: Any) -> None:
    pass
