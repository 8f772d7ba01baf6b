"""Connections: open and close them, join and leave rooms with them, and who is present."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from application.ports.connections import ConnectionRegistry
from application.ports.event_emitter import EventEmitter
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import RealtimeSettings
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller
from application.use_cases.realtime.events import announce
from application.use_cases.realtime.messages import person_of
from application.use_cases.realtime.rooms import room_for
from domain.connections import Connection, ConnectionId, ConnectionNotFound, ProcessId
from domain.identity import UserId
from domain.rooms import Person, Room, RoomId


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """Register a connection of the caller to a process."""

    uow: UnitOfWorkFactory
    connections: ConnectionRegistry
    clock: Clock
    limits: RealtimeSettings

    async def __call__(
        self, caller: Caller, connection_id: ConnectionId, process: ProcessId
    ) -> Connection:
        """Raise `TooManyConnections`."""
        async with self.uow() as uow:
            user = await person_of(uow, caller)
        connection = Connection(
            id=connection_id,
            user=user,
            session_id=caller.session_id,
            process=process,
            address=caller.client.address,
            agent=caller.client.shown_agent,
            since=self.clock.now(),
        )
        await self.connections.open(
            connection,
            most=self.limits.connections_per_user,
            lease=self.limits.connection_lease,
        )
        return connection


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Forget a connection that has ended, and tell its rooms."""

    connections: ConnectionRegistry
    emitter: EventEmitter

    async def __call__(self, connection_id: ConnectionId) -> None:
        await announce(self.emitter, await self.connections.close(connection_id))


@dataclass(frozen=True, slots=True)
class JoinRoom:
    """Let a connection of the caller get the events of a room."""

    uow: UnitOfWorkFactory
    connections: ConnectionRegistry
    emitter: EventEmitter
    limits: RealtimeSettings

    async def __call__(
        self,
        caller: Caller,
        connection_id: ConnectionId,
        room_id: RoomId,
        *,
        enter: Callable[[], Awaitable[None]],
        leave: Callable[[], Awaitable[None]],
    ) -> Room:
        """Return the room. `enter` puts the connection into its audience in this process, and `leave` takes it out.

        Raise `RoomNotFound`, `ConnectionNotFound` or `TooManyJoined`.
        """
        await self._room(caller, room_id)
        change = await self.connections.join(
            connection_id, room_id, most=self.limits.rooms_per_connection
        )
        try:
            await enter()
            # A user who was removed since the first check may not have been in the room yet.
            room = await self._room(caller, room_id)
        except BaseException:
            await leave()
            await self.connections.leave(connection_id, room_id)
            raise
        await announce(self.emitter, [change] if change else [])
        return room

    async def _room(self, caller: Caller, room_id: RoomId) -> Room:
        async with self.uow() as uow:
            return await room_for(uow, caller, room_id)


@dataclass(frozen=True, slots=True)
class LeaveRoom:
    """Let a connection get the events of a room no more. Leaving a room it is not in is no error."""

    connections: ConnectionRegistry
    emitter: EventEmitter

    async def __call__(self, connection_id: ConnectionId, room_id: RoomId) -> None:
        change = await self.connections.leave(connection_id, room_id)
        await announce(self.emitter, [change] if change else [])


@dataclass(frozen=True, slots=True)
class RenewConnections:
    """Keep the connections of a process alive, and close those of processes that are dead.

    Call it three times per `connection_lease`.
    """

    connections: ConnectionRegistry
    emitter: EventEmitter
    limits: RealtimeSettings

    async def __call__(self, process: ProcessId) -> None:
        lease = self.limits.connection_lease
        await announce(self.emitter, await self.connections.renew(process, lease=lease))


@dataclass(frozen=True, slots=True)
class CloseAllConnections:
    """Forget all connections of a process that stops, and tell their rooms."""

    connections: ConnectionRegistry
    emitter: EventEmitter

    async def __call__(self, process: ProcessId) -> None:
        await announce(self.emitter, await self.connections.end(process))


@dataclass(frozen=True, slots=True)
class ListPresent:
    """List who is present in a room that the caller may enter."""

    uow: UnitOfWorkFactory
    connections: ConnectionRegistry

    async def __call__(self, caller: Caller, room_id: RoomId) -> Sequence[Person]:
        """Raise `RoomNotFound`."""
        async with self.uow() as uow:
            await room_for(uow, caller, room_id)
        return await self.connections.present(room_id)


@dataclass(frozen=True, slots=True)
class ListConnections:
    """List open connections of all processes."""

    connections: ConnectionRegistry

    async def __call__(
        self, *, user_id: UserId | None = None, after: ConnectionId | None = None, limit: int
    ) -> Sequence[Connection]:
        """Return the first `limit`, ordered by id and following `after`."""
        return await self.connections.all(user_id=user_id, after=after, limit=limit)


@dataclass(frozen=True, slots=True)
class EndConnection:
    """End a connection. Its session goes on, so the client may connect again."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    connections: ConnectionRegistry
    emitter: EventEmitter
    audit: RecordAudit

    async def __call__(self, caller: Caller, connection_id: ConnectionId) -> None:
        """Raise `ConnectionNotFound`."""
        connection = await self.connections.find(connection_id)
        if connection is None:
            raise ConnectionNotFound(connection_id)
        async with self.uow() as uow:
            await uow.roles.lock_access()
            await self.authorize(uow, caller)
            await self.audit(
                uow,
                "connections.ended",
                caller.client,
                actor=caller.user_id,
                target=f"user:{connection.user.id}",
                details={"connection": connection_id},
            )
            await uow.commit()
        await self.emitter.disconnect(connection_id)
