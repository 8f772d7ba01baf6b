"""Connections of users over the socket, and who is present in a room because of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from domain.errors import Conflict, NotFound
from domain.rooms import Person, RoomId
from domain.sessions import SessionId

ConnectionId = NewType("ConnectionId", str)
"""What Socket.IO calls a sid."""

ProcessId = NewType("ProcessId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One open connection of a user, to one process."""

    id: ConnectionId
    user: Person
    session_id: SessionId
    process: ProcessId
    address: str
    agent: str
    since: datetime


class PresenceState(StrEnum):
    """How the presence of a user in a room changed."""

    JOINED = "joined"
    """Their first connection came."""
    LEFT = "left"
    """Their last connection went."""


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """A user came to a room, or left it, with all their connections counted."""

    room: RoomId
    user: Person
    state: PresenceState


class ConnectionNotFound(NotFound):
    """There is no such connection, or it has ended."""

    code = "connections.not_found"

    def __init__(self, connection_id: ConnectionId) -> None:
        super().__init__(f"There is no connection {connection_id}")


class TooManyConnections(Conflict):
    """The user has as many connections as a user may have."""

    code = "connections.too_many"

    def __init__(self, most: int) -> None:
        super().__init__(f"A user may have {most} connections at once")


class TooManyJoined(Conflict):
    """The connection is in as many rooms as a connection may be in."""

    code = "connections.too_many_rooms"

    def __init__(self, most: int) -> None:
        super().__init__(f"A connection may be in {most} rooms at once")
