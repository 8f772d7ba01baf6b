"""Rooms and their members."""

import asyncio
from dataclasses import replace

import pytest

from application.settings import RealtimeSettings
from application.use_cases.caller import Caller
from domain.connections import ConnectionId, ProcessId
from domain.errors import Unavailable
from domain.identity import User, UserNotFound
from domain.messages import Message
from domain.rooms import (
    InvalidRoomName,
    MemberNotFound,
    NotTheOwner,
    Room,
    RoomHasNoMembers,
    RoomKind,
    RoomName,
    RoomNotFound,
    TooManyMembers,
    TooManyRooms,
)
from domain.sessions import InvalidToken
from tests.support.builders import a_room_id, a_user
from tests.support.events import Events
from tests.support.world import IN_MEMORY, World


@pytest.fixture
async def ada(world: World) -> Caller:
    return await a_caller(world)


@pytest.fixture
async def bob(world: World) -> Caller:
    return await a_caller(world)


async def a_caller(world: World) -> Caller:
    caller, _ = await world.log_in_as(await world.given(a_user()))
    return caller


async def a_private_room(world: World, owner: Caller, *members: Caller) -> Room:
    room = await world.container.create_room()(owner, RoomName("Secrets"), RoomKind.PRIVATE)
    for member in members:
        await world.container.add_member()(owner, room.id, member.user_id)
    return room


async def members_of(world: World, room: Room) -> int:
    async with world.container.uow() as uow:
        count: int = await uow.rooms.count_members(room.id)
    return count


async def test_the_creator_of_a_private_room_is_its_owner_and_its_member(
    world: World, ada: Caller, bob: Caller
) -> None:
    room = await a_private_room(world, ada)

    assert room.owner == ada.user_id
    assert await world.container.get_room()(ada, room.id) == room
    with pytest.raises(RoomNotFound):
        await world.container.get_room()(bob, room.id)


async def test_each_change_is_in_the_audit_log(world: World, ada: Caller, bob: Caller) -> None:
    room = await a_private_room(world, ada, bob)
    await world.container.remove_member()(ada, room.id, bob.user_id)

    entries = [entry for entry in world.audit_entries() if entry.action.startswith("rooms.")]
    assert [entry.action for entry in entries] == [
        "rooms.created",
        "rooms.member_added",
        "rooms.member_removed",
    ]
    assert {entry.target for entry in entries} == {f"room:{room.id}"}


@pytest.mark.parametrize(
    "name", ["", " ", "\0", "a\nb", "x" * 101, "\u202eabc", "\ud800", "\u200b"]
)
def test_a_name_that_cannot_be_shown_or_stored_is_refused(name: str) -> None:
    with pytest.raises(InvalidRoomName):
        RoomName(name)


@pytest.mark.parametrize("name", ["x", "🦊", "x" * 100, " Lobby ", "Ünïcödé", "中文"])
def test_any_other_name_is_accepted(name: str) -> None:
    assert RoomName(name).value == name.strip()


async def test_a_user_creates_no_more_rooms_than_allowed_at_once_or_one_by_one() -> None:
    world = World(replace(IN_MEMORY, realtime=RealtimeSettings(rooms_per_user=2)))
    ada = await a_caller(world)
    creating = (
        world.container.create_room()(ada, RoomName("Lobby"), RoomKind.OPEN) for _ in range(5)
    )
    outcomes = await asyncio.gather(*creating, return_exceptions=True)

    assert [type(each) for each in outcomes].count(TooManyRooms) == 3
    world.end()


async def test_a_room_has_no_more_members_than_allowed() -> None:
    world = World(replace(IN_MEMORY, realtime=RealtimeSettings(members_per_room=2)))
    ada, bob, eve = [await a_caller(world) for _ in range(3)]
    room = await a_private_room(world, ada, bob)

    with pytest.raises(TooManyMembers):
        await world.container.add_member()(ada, room.id, eve.user_id)
    assert await members_of(world, room) == 2
    world.end()


async def test_only_members_may_add_members(world: World, ada: Caller, bob: Caller) -> None:
    room = await a_private_room(world, ada, bob)
    eve, mallory = await a_caller(world), await a_caller(world)
    await world.container.add_member()(bob, room.id, eve.user_id)

    assert await members_of(world, room) == 3
    with pytest.raises(RoomNotFound):
        await world.container.add_member()(mallory, room.id, mallory.user_id)


async def test_a_new_member_is_notified_once(world: World, ada: Caller, bob: Caller) -> None:
    room = await a_private_room(world, ada)
    events = Events(world)
    for _ in range(2):
        await world.container.add_member()(ada, room.id, bob.user_id)

    assert events.sent("notification") == [
        (
            f"user:{bob.user_id}",
            {"kind": "rooms.member_added", "room": str(room.id), "name": "Secrets"},
        )
    ]


async def test_only_users_become_members(world: World, ada: Caller) -> None:
    room = await a_private_room(world, ada)

    with pytest.raises(UserNotFound):
        await world.container.add_member()(ada, room.id, a_user().id)


async def test_an_open_room_has_no_members(world: World, ada: Caller, bob: Caller) -> None:
    room = await world.container.create_room()(ada, RoomName("Lobby"), RoomKind.OPEN)

    for change in (world.container.add_member(), world.container.remove_member()):
        with pytest.raises(RoomHasNoMembers):
            await change(ada, room.id, bob.user_id)


async def test_the_owner_removes_members_and_members_remove_themselves(
    world: World, ada: Caller, bob: Caller
) -> None:
    eve = await a_caller(world)
    room = await a_private_room(world, ada, bob, eve)
    remove = world.container.remove_member()

    with pytest.raises(NotTheOwner):
        await remove(bob, room.id, eve.user_id)
    await remove(ada, room.id, eve.user_id)
    await remove(bob, room.id, bob.user_id)
    assert await members_of(world, room) == 1
    with pytest.raises(MemberNotFound):
        await remove(ada, room.id, bob.user_id)
    with pytest.raises(RoomNotFound):
        await remove(bob, room.id, bob.user_id)


async def nothing() -> None:
    """Enter or leave a room of Socket.IO."""


async def test_the_connections_of_a_removed_member_leave_the_room(
    world: World, ada: Caller, bob: Caller
) -> None:
    room = await a_private_room(world, ada, bob)
    laptop, phone, other = (ConnectionId(name) for name in ("laptop", "phone", "other"))
    for sid in (laptop, phone, other):
        await world.container.open_connection()(bob, sid, ProcessId("a process"))
    for sid in (laptop, phone):
        await world.container.join_room()(bob, sid, room.id, enter=nothing, leave=nothing)
    events = Events(world)
    await world.container.remove_member()(ada, room.id, bob.user_id)

    messages = events.taken()
    assert [(m["sid"], m["room"]) for m in messages if m["method"] == "leave_room"] == [
        ("laptop", f"room:{room.id}"),
        ("phone", f"room:{room.id}"),
    ]
    (presence,) = [m["data"][0] for m in messages if m.get("event") == "presence"]
    assert (presence["user"]["id"], presence["state"]) == (str(bob.user_id), "left")
    assert await world.container.list_present()(ada, room.id) == []


async def test_a_user_who_was_disabled_meanwhile_changes_nothing(
    world: World, ada: Caller, bob: Caller
) -> None:
    room = await a_private_room(world, ada)
    user: User = world.store.users[ada.user_id]
    await world.change(user, status="disabled")

    with pytest.raises(InvalidToken):
        await world.container.add_member()(ada, room.id, bob.user_id)
    with pytest.raises(InvalidToken):
        await world.container.create_room()(ada, RoomName("Lobby"), RoomKind.OPEN)


async def test_a_room_that_does_not_exist_is_not_found(world: World, ada: Caller) -> None:
    with pytest.raises(RoomNotFound):
        await world.container.get_room()(ada, a_room_id())


# --- deletion -----------------------------------------------------------------------------------


async def messages_of(world: World, room: Room) -> list[Message]:
    history = await world.container.message_history().after(room.id, 0, limit=10)
    return list(history.messages)


async def audited(world: World, action: str) -> int:
    return [entry.action for entry in world.audit_entries()].count(action)


@pytest.mark.parametrize("kind", RoomKind)
async def test_the_owner_deletes_a_room(
    world: World, ada: Caller, bob: Caller, kind: RoomKind
) -> None:
    room = await world.container.create_room()(ada, RoomName("Tea"), kind)
    if kind is RoomKind.PRIVATE:
        await world.container.add_member()(ada, room.id, bob.user_id)
    delete = world.container.delete_room()

    with pytest.raises(NotTheOwner):
        await delete(bob, room.id)
    await delete(ada, room.id)

    for use_case in (world.container.get_room(), delete):
        with pytest.raises(RoomNotFound):
            await use_case(ada, room.id)
    with pytest.raises(RoomNotFound):
        await world.container.send_message()(ada, room.id, "Hello")
    assert await audited(world, "rooms.deleted") == 1


async def test_to_others_a_private_room_does_not_exist_when_they_would_delete_it(
    world: World, ada: Caller
) -> None:
    room = await a_private_room(world, ada)
    admin, _ = await world.log_in_as(await world.given(a_user(is_admin=True)))
    for caller in (await a_caller(world), admin):
        with pytest.raises(RoomNotFound):
            await world.container.delete_room()(caller, room.id)


async def test_an_administrator_deletes_an_open_room(world: World, ada: Caller) -> None:
    room = await world.container.create_room()(ada, RoomName("Lobby"), RoomKind.OPEN)
    admin, _ = await world.log_in_as(await world.given(a_user(is_admin=True)))

    await world.container.delete_room()(admin, room.id)

    with pytest.raises(RoomNotFound):
        await world.container.get_room()(ada, room.id)


async def test_the_messages_of_a_deleted_room_are_deleted_when_none_can_follow(
    world: World, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, other = [await a_private_room(world, ada) for _ in range(2)]
    for each in (room, other):
        await world.container.send_message()(ada, each.id, "Hello")
    await world.container.delete_room()(ada, room.id)
    purge = world.container.purge_rooms()

    assert await purge() == 0  # one may still be on its way
    await world.pass_time(minutes=6)
    with monkeypatch.context() as patch:
        patch.setattr(world.container.message_history(), "delete", unavailable)
        with pytest.raises(Unavailable):
            await purge()
    assert len(await messages_of(world, room)) == 1
    assert [await purge() for _ in range(2)] == [1, 0]
    assert await messages_of(world, room) == []
    assert len(await messages_of(world, other)) == 1


async def unavailable(*_: object) -> None:
    raise Unavailable("MongoDB")


async def test_a_private_room_is_deleted_when_its_last_member_leaves(
    world: World, ada: Caller, bob: Caller
) -> None:
    room = await a_private_room(world, ada, bob)
    await world.container.send_message()(ada, room.id, "Hello")
    for member in (ada, bob):
        assert await audited(world, "rooms.deleted") == 0
        await world.container.remove_member()(member, room.id, member.user_id)

    assert await audited(world, "rooms.deleted") == 1
    await world.pass_time(minutes=6)
    assert await world.container.purge_rooms()() == 1


async def test_a_private_room_is_deleted_together_with_its_last_member(
    world: World, ada: Caller
) -> None:
    await a_private_room(world, ada)
    admin, _ = await world.log_in_as(await world.given(a_user(is_admin=True)))

    await world.container.delete_user()(admin, ada.user_id)

    await world.pass_time(minutes=6)
    assert await world.container.purge_rooms()() == 1
