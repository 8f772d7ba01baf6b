"""`ConnectionRegistry` keeps its promises in memory and in Redis."""

import asyncio
from datetime import timedelta

import pytest

from adapters.memory.connections import MemoryConnectionRegistry
from adapters.redis.connections import RedisConnectionRegistry
from application.ports.connections import ConnectionRegistry
from domain.connections import (
    Connection,
    ConnectionId,
    ConnectionNotFound,
    PresenceChange,
    PresenceState,
    ProcessId,
    TooManyConnections,
    TooManyJoined,
)
from domain.rooms import RoomId
from tests.support.builders import a_connection, a_person, a_room_id
from tests.support.redis_clock import Backend

ON_A_CLUSTER = True

LEASE = timedelta(seconds=15)
ADA, BOB = a_person("Ada 🦊"), a_person("Bob")
ROOM, OTHER = a_room_id(), a_room_id()
NO_USER = ConnectionId("nobody")


@pytest.fixture
def registry(backend: Backend) -> ConnectionRegistry:
    if backend.timed_redis is None:
        return MemoryConnectionRegistry(backend.clock)
    return RedisConnectionRegistry(backend.timed_redis)


async def opened(
    registry: ConnectionRegistry, connection: Connection, *rooms: RoomId
) -> Connection:
    await registry.open(connection, most=10, lease=LEASE)
    for room in rooms:
        await registry.join(connection.id, room, most=10)
    return connection


def joined(room: RoomId, connection: Connection) -> PresenceChange:
    return PresenceChange(room, connection.user, PresenceState.JOINED)


def left(room: RoomId, connection: Connection) -> PresenceChange:
    return PresenceChange(room, connection.user, PresenceState.LEFT)


# --- connections --------------------------------------------------------------------------------


async def test_a_connection_is_found_as_it_was_opened_until_it_is_closed(
    registry: ConnectionRegistry,
) -> None:
    connection = await opened(registry, a_connection(ADA, agent='"кот" 🦊', address="2001:db8::1"))
    assert await registry.find(connection.id) == connection

    await registry.close(connection.id)
    assert await registry.find(connection.id) is None
    assert await registry.close(connection.id) == []


async def test_connections_are_listed_by_id_of_all_or_of_a_user(
    registry: ConnectionRegistry,
) -> None:
    users = [ADA, BOB, ADA, BOB, ADA]
    connections = [await opened(registry, a_connection(user)) for user in reversed(users)]
    in_order = sorted(connections, key=lambda connection: connection.id)

    assert await registry.all(limit=10) == in_order
    assert await registry.all(limit=2) == in_order[:2]
    assert await registry.all(after=in_order[1].id, limit=2) == in_order[2:4]
    hers = [connection for connection in in_order if connection.user == ADA]
    assert await registry.all(user_id=ADA.id, limit=10) == hers
    assert await registry.all(user_id=ADA.id, after=hers[0].id, limit=1) == hers[1:2]
    assert await registry.all(user_id=a_person().id, limit=10) == []


async def test_a_user_has_no_more_connections_than_allowed(registry: ConnectionRegistry) -> None:
    first = a_connection(ADA)
    for connection in (first, a_connection(ADA), a_connection(BOB)):
        await registry.open(connection, most=2, lease=LEASE)

    with pytest.raises(TooManyConnections):
        await registry.open(a_connection(ADA), most=2, lease=LEASE)
    await registry.close(first.id)
    await registry.open(a_connection(ADA), most=2, lease=LEASE)


async def test_of_many_that_open_at_once_no_more_are_registered_than_allowed(
    registry: ConnectionRegistry,
) -> None:
    opening = (registry.open(a_connection(ADA), most=5, lease=LEASE) for _ in range(12))
    outcomes = await asyncio.gather(*opening, return_exceptions=True)

    assert sum(isinstance(each, TooManyConnections) for each in outcomes) == 7
    assert len(await registry.all(limit=100)) == 5


# --- rooms --------------------------------------------------------------------------------------


async def test_a_user_is_present_with_the_first_connection_until_the_last_one_leaves(
    registry: ConnectionRegistry,
) -> None:
    laptop, phone = [await opened(registry, a_connection(ADA)) for _ in range(2)]

    assert await registry.join(laptop.id, ROOM, most=10) == joined(ROOM, laptop)
    assert await registry.join(phone.id, ROOM, most=10) is None
    assert await registry.join(phone.id, ROOM, most=10) is None
    assert await registry.present(ROOM) == [ADA]
    assert await registry.leave(laptop.id, ROOM) is None
    assert await registry.leave(laptop.id, ROOM) is None
    assert await registry.present(ROOM) == [ADA]
    assert await registry.leave(phone.id, ROOM) == left(ROOM, phone)
    assert await registry.present(ROOM) == []


async def test_a_connection_that_closes_leaves_all_its_rooms(registry: ConnectionRegistry) -> None:
    ada = await opened(registry, a_connection(ADA), ROOM, OTHER)
    await opened(registry, a_connection(BOB), ROOM)

    changes = await registry.close(ada.id)
    assert len(changes) == 2
    assert {*changes} == {left(ROOM, ada), left(OTHER, ada)}
    assert await registry.present(ROOM) == [BOB]
    assert await registry.present(OTHER) == []


async def test_no_connection_is_in_a_room_that_is_closed(
    registry: ConnectionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.redis.connections._CLOSED_AT_ONCE", 2)
    users = [ADA, ADA, BOB, a_person(), a_person(), a_person()]
    connections = [await opened(registry, a_connection(user), ROOM, OTHER) for user in users]

    for _ in range(2):
        await registry.close_room(ROOM)

    assert await registry.present(ROOM) == []
    assert not any([await registry.is_in(each.id, ROOM) for each in connections])
    assert await registry.in_room(ROOM, ADA.id) == []
    assert len(await registry.present(OTHER)) == 5
    assert await registry.close(connections[2].id) == [left(OTHER, connections[2])]
    assert await registry.join(connections[0].id, ROOM, most=2) == joined(ROOM, connections[0])


async def test_of_many_joins_at_once_one_is_the_first(registry: ConnectionRegistry) -> None:
    connections = [await opened(registry, a_connection(ADA)) for _ in range(8)]
    joining = (registry.join(each.id, ROOM, most=10) for each in connections * 2)
    changes = await asyncio.gather(*joining)

    assert [change for change in changes if change] == [joined(ROOM, connections[0])]


async def test_only_an_open_connection_joins_a_room(registry: ConnectionRegistry) -> None:
    with pytest.raises(ConnectionNotFound):
        await registry.join(NO_USER, ROOM, most=10)
    assert await registry.leave(NO_USER, ROOM) is None
    assert await registry.present(ROOM) == []


async def test_a_connection_is_in_no_more_rooms_than_allowed(registry: ConnectionRegistry) -> None:
    connection = await opened(registry, a_connection(ADA))
    for _ in range(2):
        await registry.join(connection.id, ROOM, most=2)
        await registry.join(connection.id, OTHER, most=2)

    with pytest.raises(TooManyJoined):
        await registry.join(connection.id, a_room_id(), most=2)
    await registry.leave(connection.id, ROOM)
    assert await registry.join(connection.id, a_room_id(), most=2)


async def test_it_is_known_which_connections_of_a_user_are_in_a_room(
    registry: ConnectionRegistry,
) -> None:
    inside = [await opened(registry, a_connection(ADA), ROOM) for _ in range(2)]
    outside = await opened(registry, a_connection(ADA), OTHER)
    await opened(registry, a_connection(BOB), ROOM)

    assert sorted(await registry.in_room(ROOM, ADA.id)) == sorted(each.id for each in inside)
    assert await registry.is_in(inside[0].id, ROOM)
    assert not await registry.is_in(outside.id, ROOM)
    assert not await registry.is_in(NO_USER, ROOM)


# --- processes ----------------------------------------------------------------------------------


async def test_the_connections_of_a_killed_process_end_with_its_lease(
    registry: ConnectionRegistry, backend: Backend
) -> None:
    killed, living = ProcessId("killed"), ProcessId("living")
    gone = await opened(registry, a_connection(ADA, process=killed), ROOM, OTHER)
    stays = await opened(registry, a_connection(BOB, process=living), ROOM)

    await backend.clock.pass_time(LEASE - timedelta(seconds=1))
    assert await registry.renew(living, lease=LEASE) == []
    assert len(await registry.present(ROOM)) == 2
    await backend.clock.pass_time(timedelta(seconds=2))
    changes = await registry.renew(living, lease=LEASE)
    assert {*changes} == {left(ROOM, gone), left(OTHER, gone)}
    assert await registry.renew(living, lease=LEASE) == []
    assert await registry.present(ROOM) == [BOB]
    assert await registry.all(limit=10) == [stays]


async def test_a_process_that_renews_its_lease_keeps_its_connections(
    registry: ConnectionRegistry, backend: Backend
) -> None:
    one, other = ProcessId("one"), ProcessId("other")
    await opened(registry, a_connection(ADA, process=one), ROOM)
    for _ in range(5):
        await backend.clock.pass_time(LEASE / 2)
        assert await registry.renew(one, lease=LEASE) == []
        assert await registry.renew(other, lease=LEASE) == []

    assert await registry.present(ROOM) == [ADA]


async def test_a_user_who_is_elsewhere_too_stays_present_when_a_process_dies(
    registry: ConnectionRegistry, backend: Backend
) -> None:
    killed, living = ProcessId("killed"), ProcessId("living")
    await opened(registry, a_connection(ADA, process=killed), ROOM)
    await opened(registry, a_connection(ADA, process=living), ROOM)
    await backend.clock.pass_time(LEASE / 2)
    await registry.renew(living, lease=LEASE)
    await backend.clock.pass_time(LEASE / 2 + timedelta(seconds=1))

    assert await registry.renew(living, lease=LEASE) == []
    assert await registry.present(ROOM) == [ADA]


async def test_a_process_that_stops_takes_all_its_connections_with_it(
    registry: ConnectionRegistry,
) -> None:
    stops = ProcessId("stops")
    users = [a_person() for _ in range(250)]
    for user in users:
        await opened(registry, a_connection(user, process=stops), ROOM)
    await opened(registry, a_connection(ADA, process=ProcessId("stays")), ROOM)

    changes = await registry.end(stops)
    assert {change.user for change in changes} == {*users}
    assert await registry.present(ROOM) == [ADA]
    assert await registry.end(stops) == []
