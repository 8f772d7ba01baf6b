"""Events for the clients, in whichever process they are connected."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from domain.connections import ConnectionId
from domain.identity import UserId
from domain.rooms import RoomId
from domain.sessions import SessionId


@dataclass(frozen=True, slots=True)
class Audience:
    """Whose connections get an event: those that entered the Socket.IO room `name`, or all if it is None."""

    name: str | None

    @classmethod
    def everyone(cls) -> Self:
        """Return all connections."""
        return cls(None)

    @classmethod
    def user(cls, user_id: UserId) -> Self:
        """Return the connections of a user."""
        return cls(f"user:{user_id}")

    @classmethod
    def session(cls, session_id: SessionId) -> Self:
        """Return the connections of a session."""
        return cls(f"session:{session_id}")

    @classmethod
    def room(cls, room_id: RoomId) -> Self:
        """Return the connections that joined a room."""
        return cls(f"room:{room_id}")

    @classmethod
    def connection(cls, connection_id: ConnectionId) -> Self:
        """Return one connection."""
        return cls(connection_id)


class EventEmitter(Protocol):
    """Sends events and commands to the connections of all processes.

    No method raises `Unavailable`: what cannot be sent in time is lost, and logged. An event reaches a client at most
    once, so data that must not be lost is kept elsewhere, for clients to ask for.
    """

    async def emit(self, event: str, data: Mapping[str, object], to: Audience) -> None:
        """Send an event; `data` is JSON."""
        ...

    async def emit_each(
        self, event: str, sent: Sequence[tuple[Mapping[str, object], Audience]]
    ) -> None:
        """Send an event to each audience with data of its own, in this order; many cost few round trips."""
        ...

    async def emit_numbered(
        self, event: str, data: Mapping[str, object], to: Audience, *, number: int
    ) -> int:
        """Send the event of a numbered sequence of its audience, in order and once, although other processes emit too.

        Return `number` if it is sent, now or before. If some before it are not, it is not sent: return the number
        of the last one that is. A gap of more than `LARGEST_GAP` is not worth filling, and ignored.
        """
        ...

    async def remove_from_room(self, connection_id: ConnectionId, audience: Audience) -> None:
        """Take a connection out of an audience."""
        ...

    async def close_room(self, audience: Audience) -> None:
        """Take all connections out of an audience. They get what was sent to it before."""
        ...

    async def disconnect(self, connection_id: ConnectionId) -> None:
        """End a connection."""
        ...

    async def publish(self, message: str) -> None:
        """Publish a message of a Socket.IO server for the servers of the other processes."""
        ...

    def listen(self) -> AsyncIterator[str]:
        """Yield what all processes publish, in one order, and after an outage go on with what comes then.

        Events and commands are messages too, in the format of python-socketio's managers.
        """
        ...


LARGEST_GAP = 100
"""So many missing events of a sequence are still sent, before the next one."""
