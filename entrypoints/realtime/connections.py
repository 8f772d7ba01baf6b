"""What a process knows of its own connections."""

from dataclasses import dataclass, field
from datetime import datetime

from starlette.requests import HTTPConnection

from application.ports.event_emitter import Audience
from application.use_cases.access.recheck import Checked
from application.use_cases.caller import Caller
from domain.connections import ConnectionId, ProcessId
from domain.rooms import RoomId
from entrypoints.socketio.server import AsyncServer


@dataclass(slots=True)
class Principal:
    """Whose a connection to a namespace is, and until when."""

    sid: str
    namespace: str
    checked: Checked
    """As of the last check. Each event is checked again when it comes."""
    expires_at: datetime
    rooms: set[RoomId] = field(default_factory=set)
    """Those that it has joined."""
    typed_at: dict[RoomId, datetime] = field(default_factory=dict)
    """When it last said that its user is typing, in each of them."""

    @property
    def caller(self) -> Caller:
        """The user with their session and client."""
        return self.checked.caller


@dataclass(slots=True)
class LocalConnections:
    """The connections of a process, which are all of its server's."""

    sio: AsyncServer
    process: ProcessId
    principals: dict[str, Principal] = field(default_factory=dict)
    """By sid."""
    unclosed: set[ConnectionId] = field(default_factory=set)
    """Those that have ended while the registry could not be reached."""

    async def enter(self, sid: str, audience: Audience) -> None:
        """Let a connection get what is sent to `audience`."""
        await self.sio.enter_room(sid, str(audience.name))

    async def leave(self, sid: str, audience: Audience) -> None:
        """Let a connection get it no more."""
        await self.sio.leave_room(sid, str(audience.name))


def local_connections(connection: HTTPConnection) -> LocalConnections:
    """Return the connections of the process that serves `connection`."""
    local: LocalConnections = connection.app.state.local_connections
    return local
