"""Rooms in memory, and their members."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from adapters.memory.store import MemoryTable, MemoryTransaction, page_of, sorted_by
from application.paging import Page, PageRequest, Sort
from application.ports.rooms import RoomRepository
from domain.identity import User, UserId, UserNotFound
from domain.rooms import Person, Room, RoomId, RoomNotFound


@dataclass(frozen=True, slots=True)
class RoomMember:
    """A user who may enter a private room."""

    room: RoomId
    user: UserId


@dataclass(frozen=True, slots=True)
class DeletedRoom:
    """A room whose messages are still to be deleted."""

    id: RoomId
    deleted_at: datetime


class MemoryRoomRepository(RoomRepository):
    """The rooms and members of one transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self._users: MemoryTable[UserId, User] = transaction.table(User)
        self._rooms: MemoryTable[RoomId, Room] = transaction.table(Room)
        self._members: MemoryTable[RoomMember, RoomMember] = transaction.table(
            RoomMember, cascade=User, owner=lambda member: member.user
        )
        self._deleted: MemoryTable[RoomId, DeletedRoom] = transaction.table(DeletedRoom)
        self._rooms.validate = self._check_owner
        self._members.validate = self._check_user

    async def add(self, room: Room) -> None:
        self._rooms.write(room.id, room)
        if room.is_private and room.owner is not None:
            await self.add_member(room.id, room.owner)

    async def find(self, room_id: RoomId, *, seen_by: UserId) -> Room | None:
        room = self._rooms.find(room_id)
        if room is None or not self._may_enter(room, seen_by):
            return None
        return self._with_owner(room)

    async def lock(self, room_id: RoomId, *, seen_by: UserId) -> Room:
        await self._transaction.lock(("room", room_id))
        room = await self.find(room_id, seen_by=seen_by)
        if room is None:
            raise RoomNotFound(room_id)
        return room

    async def delete(self, room_id: RoomId, *, at: datetime) -> None:
        for member in self._members_of(room_id):
            self._members.remove(member)
        self._rooms.remove(room_id)
        self._deleted.write(room_id, DeletedRoom(room_id, at))

    async def delete_with_last_member(self, user_id: UserId, *, at: datetime) -> None:
        for member in self._members.where(lambda member: member.user == user_id):
            if len(self._members_of(member.room)) == 1:
                await self.delete(member.room, at=at)

    async def deleted(self, *, before: datetime, limit: int) -> Sequence[RoomId]:
        found = self._deleted.where(lambda room: room.deleted_at < before)
        return [room.id for room in found[:limit]]

    async def forget(self, room_id: RoomId) -> None:
        self._deleted.remove(room_id)

    async def page(self, page: PageRequest, *, seen_by: UserId) -> Page[Room]:
        found = self._rooms.where(lambda room: self._may_enter(room, seen_by))
        in_order = sorted_by(map(self._with_owner, found), page.sort or Sort("name"), _SORTS)
        return page_of(in_order, page)

    async def count_owned(self, owner: UserId) -> int:
        return len(self._rooms.where(lambda room: room.owner == owner))

    async def add_member(self, room_id: RoomId, user_id: UserId) -> bool:
        member = RoomMember(room_id, user_id)
        if self._members.find(member) is not None:
            return False
        self._members.write(member, member)
        return True

    async def remove_member(self, room_id: RoomId, user_id: UserId) -> bool:
        member = RoomMember(room_id, user_id)
        if self._members.find(member) is None:
            return False
        self._members.remove(member)
        return True

    async def members(self, room_id: RoomId, page: PageRequest) -> Page[Person]:
        ids = {member.user for member in self._members_of(room_id)}
        found = self._users.where(lambda user: user.id in ids)
        users = sorted_by(found, page.sort or Sort("name"), _SORTS_OF_MEMBERS)
        return page_of([Person(id=user.id, name=user.name.value) for user in users], page)

    async def count_members(self, room_id: RoomId) -> int:
        return len(self._members_of(room_id))

    def _members_of(self, room_id: RoomId) -> list[RoomMember]:
        return self._members.where(lambda member: member.room == room_id)

    def _may_enter(self, room: Room, user_id: UserId) -> bool:
        return not room.is_private or self._members.find(RoomMember(room.id, user_id)) is not None

    def _with_owner(self, room: Room) -> Room:
        is_gone = room.owner is None or self._users.find(room.owner) is None
        return replace(room, owner=None) if is_gone else room

    def _check_owner(self, room: Room) -> None:
        if room.owner is not None and self._users.find(room.owner) is None:
            raise UserNotFound(room.owner)

    def _check_user(self, member: RoomMember) -> None:
        if self._users.find(member.user) is None:
            raise UserNotFound(member.user)


_SORTS: Mapping[str, Callable[[Room], Any]] = {
    "name": lambda room: (room.name.key, room.id),
    "created_at": lambda room: (room.created_at, room.id),
}
_SORTS_OF_MEMBERS: Mapping[str, Callable[[User], Any]] = {
    "name": lambda user: (user.name.key, user.id)
}
