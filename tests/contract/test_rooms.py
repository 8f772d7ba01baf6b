"""`RoomRepository` keeps its promises in memory and in PostgreSQL."""

import asyncio
from datetime import timedelta

import pytest

from application.paging import PageRequest, Sort
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.identity import User, UserNotFound
from domain.rooms import Person, Room, RoomKind, RoomNotFound
from tests.support.builders import A_MOMENT, a_room, a_room_id, a_user
from tests.support.given import given

ADA, BOB, EVE = a_user(name="Ada"), a_user(name="Bob"), a_user(name="Eve")
A_PAGE = PageRequest(size=100)


@pytest.fixture(autouse=True)
async def people(uow: UnitOfWorkFactory) -> None:
    await given(uow, ADA, BOB, EVE)


async def stored(uow: UnitOfWorkFactory, *rooms: Room) -> None:
    async with uow() as work:
        for room in rooms:
            await work.rooms.add(room)
        await work.commit()


async def names_seen_by(
    uow: UnitOfWorkFactory, user: User, page: PageRequest = A_PAGE
) -> list[str]:
    async with uow() as work:
        found = await work.rooms.page(page, seen_by=user.id)
    return [room.name.value for room in found.records]


async def test_an_open_room_is_found_by_everybody_as_it_was_added(uow: UnitOfWorkFactory) -> None:
    room = a_room(owner=ADA.id)
    await stored(uow, room)

    async with uow() as work:
        assert await work.rooms.find(room.id, seen_by=BOB.id) == room


async def test_a_private_room_is_found_by_its_members_only(uow: UnitOfWorkFactory) -> None:
    room = a_room(owner=ADA.id, kind=RoomKind.PRIVATE)
    await stored(uow, room)

    async with uow() as work:
        assert await work.rooms.find(room.id, seen_by=ADA.id) == room
        assert await work.rooms.find(room.id, seen_by=BOB.id) is None
        assert await work.rooms.add_member(room.id, BOB.id)
        assert await work.rooms.find(room.id, seen_by=BOB.id) == room


async def test_a_member_who_is_removed_finds_the_room_no_more(uow: UnitOfWorkFactory) -> None:
    room = a_room(owner=ADA.id, kind=RoomKind.PRIVATE)
    await stored(uow, room)

    async with uow() as work:
        assert await work.rooms.remove_member(room.id, ADA.id)
        assert not await work.rooms.remove_member(room.id, ADA.id)
        assert await work.rooms.find(room.id, seen_by=ADA.id) is None


async def test_a_member_is_not_added_twice(uow: UnitOfWorkFactory) -> None:
    room = a_room(owner=ADA.id, kind=RoomKind.PRIVATE)
    await stored(uow, room)

    async with uow() as work:
        assert await work.rooms.add_member(room.id, BOB.id)
        assert not await work.rooms.add_member(room.id, BOB.id)
        assert await work.rooms.count_members(room.id) == 2


async def test_only_users_are_made_members(uow: UnitOfWorkFactory) -> None:
    room = a_room(owner=ADA.id, kind=RoomKind.PRIVATE)
    await stored(uow, room)

    async with uow() as work:
        with pytest.raises(UserNotFound):
            await work.rooms.add_member(room.id, a_user().id)


async def test_a_room_needs_an_owner_who_exists(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        with pytest.raises(UserNotFound):
            await work.rooms.add(a_room(owner=a_user().id))


async def test_members_are_listed_by_name_in_pages(uow: UnitOfWorkFactory) -> None:
    room = a_room(owner=BOB.id, kind=RoomKind.PRIVATE)
    await stored(uow, room)

    async with uow() as work:
        await work.rooms.add_member(room.id, EVE.id)
        await work.rooms.add_member(room.id, ADA.id)
        everyone = await work.rooms.members(room.id, A_PAGE)
        second = await work.rooms.members(room.id, PageRequest(number=2, size=2))
        last = await work.rooms.members(room.id, PageRequest(1, 1, Sort("name", descending=True)))

    people = [Person(id=user.id, name=user.name.value) for user in (ADA, BOB, EVE)]
    assert (list(everyone.records), everyone.total) == (people, 3)
    assert (list(second.records), second.total) == (people[2:], 3)
    assert list(last.records) == people[2:]


async def test_a_deleted_user_is_no_owner_and_no_member(uow: UnitOfWorkFactory) -> None:
    hers = a_room(owner=ADA.id, kind=RoomKind.PRIVATE)
    await stored(uow, hers)
    async with uow() as work:
        await work.rooms.add_member(hers.id, BOB.id)
        await work.users.lock(ADA.id)
        await work.users.delete(ADA.id)
        await work.commit()

    async with uow() as work:
        found = await work.rooms.find(hers.id, seen_by=BOB.id)
        assert found is not None
        assert found.owner is None
        assert await work.rooms.find(hers.id, seen_by=ADA.id) is None
        assert await work.rooms.count_members(hers.id) == 1


async def test_no_user_finds_a_deleted_room_and_it_is_known_until_it_is_forgotten(
    uow: UnitOfWorkFactory,
) -> None:
    hers, other = (a_room(owner=ADA.id, kind=RoomKind.PRIVATE) for _ in range(2))
    await stored(uow, hers, other)
    async with uow() as work:
        await work.rooms.delete(hers.id, at=A_MOMENT)
        await work.commit()

    later = A_MOMENT + timedelta(microseconds=1)
    async with uow() as work:
        assert await work.rooms.find(hers.id, seen_by=ADA.id) is None
        assert await work.rooms.count_members(hers.id) == 0
        assert await work.rooms.count_owned(ADA.id) == 1
        assert await work.rooms.find(other.id, seen_by=ADA.id) == other
        assert list(await work.rooms.deleted(before=A_MOMENT, limit=10)) == []
        assert list(await work.rooms.deleted(before=later, limit=10)) == [hers.id]
        assert list(await work.rooms.deleted(before=later, limit=0)) == []
        await work.rooms.forget(hers.id)
        assert list(await work.rooms.deleted(before=later, limit=10)) == []


async def test_private_rooms_are_deleted_with_their_last_member(uow: UnitOfWorkFactory) -> None:
    alone, shared, of_bob = (
        a_room(owner=user.id, kind=RoomKind.PRIVATE) for user in (ADA, ADA, BOB)
    )
    public = a_room(owner=ADA.id)
    await stored(uow, alone, shared, of_bob, public)
    async with uow() as work:
        await work.rooms.add_member(shared.id, BOB.id)
        await work.rooms.delete_with_last_member(ADA.id, at=A_MOMENT)
        await work.commit()

    async with uow() as work:
        deleted = await work.rooms.deleted(before=A_MOMENT + timedelta(seconds=1), limit=10)
        assert list(deleted) == [alone.id]
        for room in (shared, of_bob, public):
            assert await work.rooms.find(room.id, seen_by=BOB.id) == room


async def test_a_list_has_what_the_user_may_enter_by_name(uow: UnitOfWorkFactory) -> None:
    await stored(
        uow,
        a_room("zebra", owner=ADA.id),
        a_room("Émile 🦊", owner=BOB.id, kind=RoomKind.PRIVATE),
        a_room("apple", owner=ADA.id, kind=RoomKind.PRIVATE),
        a_room("Banana", owner=EVE.id),
    )

    assert await names_seen_by(uow, ADA) == ["apple", "Banana", "zebra"]
    assert await names_seen_by(uow, BOB) == ["Banana", "zebra", "Émile 🦊"]
    assert await names_seen_by(uow, EVE) == ["Banana", "zebra"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_pages_of_any_size_have_every_room_once(uow: UnitOfWorkFactory, size: int) -> None:
    rooms = [
        a_room(
            "the same name",
            owner=ADA.id,
            kind=RoomKind.PRIVATE if n % 2 else RoomKind.OPEN,
            created_at=A_MOMENT + timedelta(seconds=n % 3),
        )
        for n in range(7)
    ]
    await stored(uow, *rooms)

    async def read(sort: Sort | None) -> list[Room]:
        found: list[Room] = []
        async with uow() as work:
            for number in range(1, 7 // size + 2):
                page = await work.rooms.page(PageRequest(number, size, sort), seen_by=ADA.id)
                assert page.total == 7
                found += page.records
        return found

    for sort in (None, Sort("name", descending=True), Sort("created_at")):
        found = await read(sort)
        assert len(found) == 7
        assert {room.id for room in found} == {room.id for room in rooms}
    by_time = [room.created_at for room in await read(Sort("created_at"))]
    assert by_time == sorted(by_time)


async def test_owned_rooms_are_counted(uow: UnitOfWorkFactory) -> None:
    await stored(uow, a_room(owner=ADA.id), a_room(owner=ADA.id, kind=RoomKind.PRIVATE))

    async with uow() as work:
        assert await work.rooms.count_owned(ADA.id) == 2
        assert await work.rooms.count_owned(BOB.id) == 0


async def test_only_a_room_that_the_user_may_enter_can_be_locked(uow: UnitOfWorkFactory) -> None:
    room = a_room(owner=ADA.id, kind=RoomKind.PRIVATE)
    await stored(uow, room)

    async with uow() as work:
        assert await work.rooms.lock(room.id, seen_by=ADA.id) == room
    for seen_by, room_id in ((BOB.id, room.id), (ADA.id, a_room_id())):
        async with uow() as work:
            with pytest.raises(RoomNotFound):
                await work.rooms.lock(room_id, seen_by=seen_by)


async def test_a_member_removed_while_waiting_for_the_lock_does_not_get_it(
    uow: UnitOfWorkFactory,
) -> None:
    room = a_room(owner=ADA.id, kind=RoomKind.PRIVATE)
    await stored(uow, room)
    async with uow() as work:
        await work.rooms.add_member(room.id, BOB.id)
        await work.commit()

    async def lock_as_bob() -> None:
        async with uow() as work:
            await work.rooms.lock(room.id, seen_by=BOB.id)

    async with uow() as work:
        await work.rooms.lock(room.id, seen_by=ADA.id)
        waiting = asyncio.create_task(lock_as_bob())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await work.rooms.remove_member(room.id, BOB.id)
        await work.commit()
    with pytest.raises(RoomNotFound):
        await waiting


async def test_many_who_are_added_at_once_are_all_members(uow: UnitOfWorkFactory) -> None:
    room = a_room(owner=ADA.id, kind=RoomKind.PRIVATE)
    await stored(uow, room)

    async def add(user: User) -> bool:
        async with uow() as work:
            await work.rooms.lock(room.id, seen_by=ADA.id)
            added = await work.rooms.add_member(room.id, user.id)
            await work.commit()
        return added

    added = await asyncio.gather(*(add(user) for user in (BOB, EVE, BOB, EVE)))
    assert sorted(added) == [False, False, True, True]
    async with uow() as work:
        assert await work.rooms.count_members(room.id) == 3
