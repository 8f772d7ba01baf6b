"""Connections and presence."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.settings import RealtimeSettings
from application.use_cases.caller import Caller
from domain.connections import (
    ConnectionId,
    ConnectionNotFound,
    ProcessId,
    TooManyConnections,
    TooManyJoined,
)
from domain.rooms import Room, RoomKind, RoomNotFound
from tests.support.builders import a_room, a_user
from tests.support.events import Events
from tests.support.world import IN_MEMORY, World

SID = ConnectionId("a-sid")
HERE, THERE = ProcessId("here"), ProcessId("there")


@pytest.fixture
async def ada(world: World) -> Caller:
    return await a_caller(world)


async def a_caller(world: World) -> Caller:
    caller, _ = await world.log_in_as(await world.given(a_user(name="Ada")))
    return caller


class SocketRoom:
    """Who is in a room of Socket.IO: one connection, or none."""

    def __init__(self) -> None:
        self.entered = False

    async def enter(self) -> None:
        self.entered = True

    async def leave(self) -> None:
        self.entered = False


async def join(world: World, caller: Caller, room: Room, sid: ConnectionId = SID) -> SocketRoom:
    """Join with a connection; return where it is then."""
    socket_room = SocketRoom()
    await world.container.join_room()(
        caller, sid, room.id, enter=socket_room.enter, leave=socket_room.leave
    )
    return socket_room


def states(events: Events) -> list[tuple[str, str]]:
    return [(data["user"]["name"], data["state"]) for _, data in events.sent("presence")]


async def test_others_learn_who_comes_and_goes(world: World, ada: Caller) -> None:
    lobby = await world.given_room(a_room())
    await world.container.open_connection()(ada, SID, HERE)
    events = Events(world)

    assert (await join(world, ada, lobby)).entered
    assert states(events) == [("Ada", "joined")]
    await world.container.leave_room()(SID, lobby.id)
    assert states(events) == [("Ada", "left")]
    await join(world, ada, lobby)
    await world.container.close_connection()(SID)
    assert states(events) == [("Ada", "joined"), ("Ada", "left")]


async def test_users_cannot_join_a_room_that_they_may_not_enter(world: World, ada: Caller) -> None:
    private = await world.given_room(a_room(kind=RoomKind.PRIVATE))
    await world.container.open_connection()(ada, SID, HERE)

    with pytest.raises(RoomNotFound):
        await join(world, ada, private)
    with pytest.raises(RoomNotFound):
        await world.container.list_present()(ada, private.id)


async def test_a_user_who_is_removed_while_they_join_is_not_in_the_room(
    world: World, ada: Caller
) -> None:
    owner = await a_caller(world)
    user = world.store.users[ada.user_id]
    private = await world.given_room(a_room(kind=RoomKind.PRIVATE, owner=owner.user_id), user)
    await world.container.open_connection()(ada, SID, HERE)
    socket_room, events = SocketRoom(), Events(world)

    async def enter_late() -> None:
        await world.container.remove_member()(owner, private.id, ada.user_id)
        await socket_room.enter()

    with pytest.raises(RoomNotFound):
        await world.container.join_room()(
            ada, SID, private.id, enter=enter_late, leave=socket_room.leave
        )
    assert not socket_room.entered
    assert await world.container.list_present()(owner, private.id) == []
    assert ("Ada", "joined") not in states(events)


async def test_limits_hold() -> None:
    settings = RealtimeSettings(connections_per_user=1, rooms_per_connection=1)
    world = World(replace(IN_MEMORY, realtime=settings))
    ada = await a_caller(world)
    await world.container.open_connection()(ada, SID, HERE)
    await join(world, ada, await world.given_room(a_room()))

    with pytest.raises(TooManyConnections):
        await world.container.open_connection()(ada, ConnectionId("another"), HERE)
    with pytest.raises(TooManyJoined):
        await join(world, ada, await world.given_room(a_room()))
    world.end()


async def test_the_presence_of_a_killed_process_ends(world: World, ada: Caller) -> None:
    lobby = await world.given_room(a_room())
    await world.container.open_connection()(ada, SID, THERE)
    await join(world, ada, lobby)
    events = Events(world)

    renew = world.container.renew_connections()
    for _ in range(4):
        await renew(HERE)
        await world.pass_time(seconds=5)
    await renew(HERE)
    assert states(events) == [("Ada", "left")]
    assert await world.container.list_present()(ada, lobby.id) == []
    assert RealtimeSettings().connection_lease == timedelta(seconds=15)


async def test_a_process_that_stops_says_so(world: World, ada: Caller) -> None:
    lobby = await world.given_room(a_room())
    await world.container.open_connection()(ada, SID, HERE)
    await join(world, ada, lobby)
    events = Events(world)

    await world.container.close_all_connections()(HERE)
    assert states(events) == [("Ada", "left")]
    assert await world.container.list_connections()(limit=10) == []


async def test_an_operator_ends_a_connection_which_is_in_the_audit_log(
    world: World, ada: Caller
) -> None:
    operator = await a_caller(world)
    await world.container.open_connection()(ada, SID, HERE)
    events = Events(world)
    await world.container.end_connection()(operator, SID)

    assert [(each["method"], each["sid"]) for each in events.taken()] == [("disconnect", SID)]
    entry = world.audit_entries()[-1]
    assert (entry.action, entry.actor, entry.target) == (
        "connections.ended",
        operator.user_id,
        f"user:{ada.user_id}",
    )
    with pytest.raises(ConnectionNotFound):
        await world.container.end_connection()(operator, ConnectionId("nobody"))
