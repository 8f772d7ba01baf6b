"""Connections in memory."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from application.ports.connections import ConnectionRegistry
from application.ports.system import Clock
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
from domain.identity import UserId
from domain.rooms import Person, RoomId


class MemoryConnectionRegistry(ConnectionRegistry):
    """The connections of this process, and of others that a test makes up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._connections: dict[ConnectionId, Connection] = {}
        self._joined = defaultdict[ConnectionId, set[RoomId]](set)
        self._leases: dict[ProcessId, datetime] = {}

    async def open(self, connection: Connection, *, most: int, lease: timedelta) -> None:
        if len(self._of_user(connection.user.id)) >= most:
            raise TooManyConnections(most)
        self._connections[connection.id] = connection
        until = self._clock.now() + lease
        self._leases[connection.process] = max(until, self._leases.get(connection.process, until))

    async def close(self, connection_id: ConnectionId) -> Sequence[PresenceChange]:
        changes = [
            change
            for room_id in sorted(self._joined.get(connection_id, ()))
            if (change := await self.leave(connection_id, room_id))
        ]
        self._joined.pop(connection_id, None)
        self._connections.pop(connection_id, None)
        return changes

    async def join(
        self, connection_id: ConnectionId, room_id: RoomId, *, most: int
    ) -> PresenceChange | None:
        connection = self._connections.get(connection_id)
        if connection is None:
            raise ConnectionNotFound(connection_id)
        joined = self._joined[connection_id]
        if room_id in joined:
            return None
        if len(joined) >= most:
            raise TooManyJoined(most)
        was_present = bool(await self.in_room(room_id, connection.user.id))
        joined.add(room_id)
        if was_present:
            return None
        return PresenceChange(room_id, connection.user, PresenceState.JOINED)

    async def leave(self, connection_id: ConnectionId, room_id: RoomId) -> PresenceChange | None:
        joined = self._joined.get(connection_id, set())
        if room_id not in joined:
            return None
        joined.remove(room_id)
        user = self._connections[connection_id].user
        if await self.in_room(room_id, user.id):
            return None
        return PresenceChange(room_id, user, PresenceState.LEFT)

    async def close_room(self, room_id: RoomId) -> None:
        for joined in self._joined.values():
            joined.discard(room_id)

    async def is_in(self, connection_id: ConnectionId, room_id: RoomId) -> bool:
        return room_id in self._joined.get(connection_id, ())

    async def present(self, room_id: RoomId) -> Sequence[Person]:
        people = {
            connection.user.id: connection.user
            for connection in self._connections.values()
            if room_id in self._joined.get(connection.id, ())
        }
        return [people[user_id] for user_id in sorted(people)]

    async def find(self, connection_id: ConnectionId) -> Connection | None:
        return self._connections.get(connection_id)

    async def all(
        self, *, user_id: UserId | None = None, after: ConnectionId | None = None, limit: int
    ) -> Sequence[Connection]:
        found = sorted(
            (each for each in self._connections.values() if user_id in {None, each.user.id}),
            key=lambda connection: connection.id,
        )
        return [each for each in found if after is None or each.id > after][:limit]

    async def in_room(self, room_id: RoomId, user_id: UserId) -> Collection[ConnectionId]:
        return [
            each.id for each in self._of_user(user_id) if room_id in self._joined.get(each.id, ())
        ]

    async def renew(self, process: ProcessId, *, lease: timedelta) -> Sequence[PresenceChange]:
        now = self._clock.now()
        self._leases[process] = now + lease
        dead = [each for each, until in self._leases.items() if until <= now]
        return [change for each in dead for change in await self.end(each)]

    async def end(self, process: ProcessId) -> Sequence[PresenceChange]:
        self._leases.pop(process, None)
        theirs = [each.id for each in self._connections.values() if each.process == process]
        return [change for each in theirs for change in await self.close(each)]

    def _of_user(self, user_id: UserId) -> list[Connection]:
        return [each for each in self._connections.values() if each.user.id == user_id]
