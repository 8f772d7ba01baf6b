"""Rooms and their members: create, list and delete rooms, add and remove members."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from application.keyed_lock import KeyedLock
from application.paging import Page, PageRequest
from application.ports.connections import ConnectionRegistry
from application.ports.event_emitter import Audience, EventEmitter
from application.ports.messages import MessageHistory
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.settings import RealtimeSettings
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller, lock_caller
from application.use_cases.realtime.events import ROOM_DELETED, Notify, announce
from domain.errors import Unavailable
from domain.identity import UserId
from domain.rooms import (
    MemberNotFound,
    NotTheOwner,
    Person,
    Room,
    RoomHasNoMembers,
    RoomId,
    RoomKind,
    RoomName,
    RoomNotFound,
    TooManyMembers,
    TooManyRooms,
)

_LAST_APPENDED = timedelta(minutes=5)
"""So long after a room is deleted, a message that was on its way to it may still be stored."""

_BATCH = 100


@dataclass(frozen=True, slots=True)
class CreateRoom:
    """Create a room. The caller owns it, and is its first member if it is private."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit
    limits: RealtimeSettings
    one_at_a_time: KeyedLock

    async def __call__(self, caller: Caller, name: RoomName, kind: RoomKind) -> Room:
        """Raise `TooManyRooms`."""
        room = Room(
            id=RoomId(self.ids.new()),
            name=name,
            kind=kind,
            owner=caller.user_id,
            created_at=self.clock.now(),
        )
        async with self.one_at_a_time(caller.user_id), self.uow() as uow:
            await uow.roles.lock_access()
            # Locked: of several created at once, each would count too few.
            await lock_caller(uow, caller)
            await self.authorize(uow, caller)
            if await uow.rooms.count_owned(caller.user_id) >= self.limits.rooms_per_user:
                raise TooManyRooms(self.limits.rooms_per_user)
            await uow.rooms.add(room)
            await self.audit(
                uow,
                "rooms.created",
                caller.client,
                actor=caller.user_id,
                target=f"room:{room.id}",
                details={"name": name.value, "kind": kind.value},
            )
            await uow.commit()
        return room


@dataclass(frozen=True, slots=True)
class GetRoom:
    """Get a room that the caller may enter."""

    uow: UnitOfWorkFactory

    async def __call__(self, caller: Caller, room_id: RoomId) -> Room:
        """Raise `RoomNotFound`."""
        async with self.uow() as uow:
            return await room_for(uow, caller, room_id)


@dataclass(frozen=True, slots=True)
class ListRooms:
    """List the rooms that the caller may enter: open ones, and private ones with the caller as a member."""

    uow: UnitOfWorkFactory

    async def __call__(self, caller: Caller, page: PageRequest) -> Page[Room]:
        async with self.uow() as uow:
            return await uow.rooms.page(page, seen_by=caller.user_id)


@dataclass(frozen=True, slots=True)
class ListMembers:
    """List the members of a private room that the caller is a member of."""

    uow: UnitOfWorkFactory

    async def __call__(self, caller: Caller, room_id: RoomId, page: PageRequest) -> Page[Person]:
        """Raise `RoomNotFound` or `RoomHasNoMembers`."""
        async with self.uow() as uow:
            _check_private(await room_for(uow, caller, room_id))
            return await uow.rooms.members(room_id, page)


@dataclass(frozen=True, slots=True)
class AddMember:
    """Add a member to a private room. Every member may, and the new one is notified."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    audit: RecordAudit
    notify: Notify
    limits: RealtimeSettings
    one_at_a_time: KeyedLock

    async def __call__(self, caller: Caller, room_id: RoomId, user_id: UserId) -> None:
        """Do nothing if they are one. Raise `RoomNotFound`, `RoomHasNoMembers`, `UserNotFound` or `TooManyMembers`."""
        async with self.one_at_a_time(room_id), self.uow() as uow:
            room = await _lock_members(uow, caller, room_id, self.authorize)
            if not await uow.rooms.add_member(room_id, user_id):
                return
            if await uow.rooms.count_members(room_id) > self.limits.members_per_room:
                raise TooManyMembers(self.limits.members_per_room)
            await self.audit(
                uow,
                "rooms.member_added",
                caller.client,
                actor=caller.user_id,
                target=f"room:{room_id}",
                details={"member": str(user_id)},
            )
            await uow.commit()
        await self.notify(
            user_id, "rooms.member_added", {"room": str(room.id), "name": room.name.value}
        )


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Remove a member from a private room, with all their connections. The owner may, and each member themselves.

    With its last member the room is deleted, for no user could enter it again.
    """

    uow: UnitOfWorkFactory
    authorize: Authorize
    clock: Clock
    audit: RecordAudit
    connections: ConnectionRegistry
    emitter: EventEmitter
    one_at_a_time: KeyedLock

    async def __call__(self, caller: Caller, room_id: RoomId, user_id: UserId) -> None:
        """Raise `RoomNotFound`, `RoomHasNoMembers`, `NotTheOwner` or `MemberNotFound`."""
        async with self.one_at_a_time(room_id), self.uow() as uow:
            room = await _lock_members(uow, caller, room_id, self.authorize)
            if caller.user_id not in {user_id, room.owner}:
                raise NotTheOwner
            if not await uow.rooms.remove_member(room_id, user_id):
                raise MemberNotFound(user_id)
            await self.audit(
                uow,
                "rooms.member_removed",
                caller.client,
                actor=caller.user_id,
                target=f"room:{room_id}",
                details={"member": str(user_id)},
            )
            if not await uow.rooms.count_members(room_id):
                await _delete_room(uow, caller, room, self.clock, self.audit)
            await uow.commit()
        with suppress(Unavailable):  # then nothing of the room reaches anybody either
            await self._remove_connections(room_id, user_id)

    async def _remove_connections(self, room_id: RoomId, user_id: UserId) -> None:
        for connection_id in await self.connections.in_room(room_id, user_id):
            await self.emitter.remove_from_room(connection_id, Audience.room(room_id))
            change = await self.connections.leave(connection_id, room_id)
            await announce(self.emitter, [change] if change else [])


@dataclass(frozen=True, slots=True)
class DeleteRoom:
    """Delete a room, for its owner or an administrator. It is gone at once, and `PurgeRooms` deletes its messages."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    clock: Clock
    audit: RecordAudit
    connections: ConnectionRegistry
    emitter: EventEmitter
    one_at_a_time: KeyedLock

    async def __call__(self, caller: Caller, room_id: RoomId) -> None:
        """Raise `RoomNotFound` or `NotTheOwner`."""
        async with self.one_at_a_time(room_id), self.uow() as uow:
            room, caller = await _lock_room(uow, caller, room_id, self.authorize)
            if caller.user_id != room.owner and not caller.access.is_admin:
                raise NotTheOwner
            await _delete_room(uow, caller, room, self.clock, self.audit)
            await uow.commit()
        audience = Audience.room(room_id)
        await self.emitter.emit(ROOM_DELETED, {"room": str(room_id)}, audience)
        await self.emitter.close_room(audience)
        with suppress(Unavailable):  # then connections stay in it until they end, and hear nothing
            await self.connections.close_room(room_id)


@dataclass(frozen=True, slots=True)
class PurgeRooms:
    """Delete the messages of deleted rooms. What fails is done the next time."""

    uow: UnitOfWorkFactory
    history: MessageHistory
    clock: Clock

    async def __call__(self) -> int:
        """Return of how many rooms; raise `Unavailable`."""
        before = self.clock.now() - _LAST_APPENDED
        purged = 0
        while True:
            async with self.uow() as uow:
                room_ids = await uow.rooms.deleted(before=before, limit=_BATCH)
            for room_id in room_ids:
                await self.history.delete(room_id)
                async with self.uow() as uow:
                    await uow.rooms.forget(room_id)
                    await uow.commit()
            purged += len(room_ids)
            if len(room_ids) < _BATCH:
                return purged


async def room_for(uow: UnitOfWork, caller: Caller, room_id: RoomId) -> Room:
    """Return a room that the caller may enter; raise `RoomNotFound`."""
    room = await uow.rooms.find(room_id, seen_by=caller.user_id)
    if room is None:
        raise RoomNotFound(room_id)
    return room


async def _lock_members(
    uow: UnitOfWork, caller: Caller, room_id: RoomId, authorize: Authorize
) -> Room:
    """Lock a room to change its members; raise `RoomNotFound`, `RoomHasNoMembers`, or what `authorize` raises."""
    room, _ = await _lock_room(uow, caller, room_id, authorize)
    _check_private(room)
    return room


async def _lock_room(
    uow: UnitOfWork, caller: Caller, room_id: RoomId, authorize: Authorize
) -> tuple[Room, Caller]:
    """Lock a room to change it; return the caller with their current access."""
    await uow.roles.lock_access()
    room = await uow.rooms.lock(room_id, seen_by=caller.user_id)
    return room, await authorize(uow, caller)


async def _delete_room(
    uow: UnitOfWork, caller: Caller, room: Room, clock: Clock, audit: RecordAudit
) -> None:
    await uow.rooms.delete(room.id, at=clock.now())
    await audit(
        uow,
        "rooms.deleted",
        caller.client,
        actor=caller.user_id,
        target=f"room:{room.id}",
        details={"name": room.name.value, "kind": room.kind.value},
    )


def _check_private(room: Room) -> None:
    if not room.is_private:
        raise RoomHasNoMembers(room.id)
