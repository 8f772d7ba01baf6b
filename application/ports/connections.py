"""The connections of all processes, and who is present in which room."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Protocol

from domain.connections import Connection, ConnectionId, PresenceChange, ProcessId
from domain.identity import UserId
from domain.rooms import Person, RoomId


class ConnectionRegistry(Protocol):
    """Which connections are open, and in which rooms they are.

    A connection lives as long as its process renews its lease. A user is present in a room while one of their
    connections is in it. All methods raise `Unavailable` if the store is down or slow.
    """

    async def open(self, connection: Connection, *, most: int, lease: timedelta) -> None:
        """Register a connection of a process that lives for at least `lease`.

        Raise `TooManyConnections` if its user has `most` already.
        """
        ...

    async def close(self, connection_id: ConnectionId) -> Sequence[PresenceChange]:
        """Remove a connection, if there is one, from the registry and its rooms; return who left which room."""
        ...

    async def join(
        self, connection_id: ConnectionId, room_id: RoomId, *, most: int
    ) -> PresenceChange | None:
        """Put a connection into a room; return who came, or None if the user was there already.

        Raise `ConnectionNotFound`, or `TooManyJoined` if it is in `most` rooms already.
        """
        ...

    async def leave(self, connection_id: ConnectionId, room_id: RoomId) -> PresenceChange | None:
        """Take a connection out of a room; return who left, or None if the user is still there or never was."""
        ...

    async def close_room(self, room_id: RoomId) -> None:
        """Take all connections out of a room that is deleted."""
        ...

    async def is_in(self, connection_id: ConnectionId, room_id: RoomId) -> bool:
        """Return whether a connection is in a room."""
        ...

    async def present(self, room_id: RoomId) -> Sequence[Person]:
        """Return who is present in a room, ordered by id."""
        ...

    async def find(self, connection_id: ConnectionId) -> Connection | None:
        """Return the connection, or None."""
        ...

    async def all(
        self, *, user_id: UserId | None = None, after: ConnectionId | None = None, limit: int
    ) -> Sequence[Connection]:
        """Return the first `limit` connections, of a user or of all, ordered by id and following `after`."""
        ...

    async def in_room(self, room_id: RoomId, user_id: UserId) -> Collection[ConnectionId]:
        """Return the connections of a user that are in a room."""
        ...

    async def renew(self, process: ProcessId, *, lease: timedelta) -> Sequence[PresenceChange]:
        """Renew the lease of a process, and close the connections of processes whose lease has expired.

        Return who left which room because of that; each change is returned once, to one of the callers.
        """
        ...

    async def end(self, process: ProcessId) -> Sequence[PresenceChange]:
        """Close all connections of a process that stops; return who left which room."""
        ...
