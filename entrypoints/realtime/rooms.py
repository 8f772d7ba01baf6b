"""Rooms, as a connection joins and leaves them."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from pydantic import BaseModel

from application.ports.event_emitter import Audience
from application.use_cases.realtime.connections import JoinRoom, LeaveRoom, ListPresent
from domain.access import PermissionDenied
from domain.connections import ConnectionId, PresenceState
from domain.rooms import RoomId
from entrypoints.realtime.connections import LocalConnections, Principal, local_connections
from entrypoints.realtime.errors import socket_error
from entrypoints.realtime.security import (
    AuthenticatedEvent,
    GuardedEvent,
    PrincipalDep,
    VerifyPermissionDep,
    permission_of,
)
from entrypoints.room_bodies import PersonBody, RoomBody
from entrypoints.socketio.errors import envelope
from entrypoints.socketio.parameters import HTTPConnection
from entrypoints.socketio.router import SocketRouter
from entrypoints.wiring import UseCase

_PREFIX = "room."

router = SocketRouter(prefix=_PREFIX)


class RoomReference(BaseModel):
    """The id of a room."""

    room: UUID


class Joined(BaseModel):
    """The room, and who is present in it, the caller among them."""

    room: RoomBody
    present: Sequence[PersonBody]


class PresenceBody(BaseModel):
    """A user came to a room with their first connection, or left it with their last one."""

    room: UUID
    user: PersonBody
    state: PresenceState


class RoomDeletedBody(BaseModel):
    """A room was deleted, and this connection has left it."""

    room: UUID


@router.on("join", dependencies=[GuardedEvent], ordered=True)
async def join(
    reference: RoomReference,
    *,
    principal: PrincipalDep,
    connection: HTTPConnection,
    caller: VerifyPermissionDep,
    join_room: UseCase[JoinRoom],
    list_present: UseCase[ListPresent],
) -> Joined:
    """Join a room with this connection, to get its messages from now on."""
    local, room_id = local_connections(connection), RoomId(reference.room)
    sid, audience = principal.sid, Audience.room(room_id)
    room = await join_room(
        caller,
        ConnectionId(sid),
        room_id,
        enter=partial(local.enter, sid, audience),
        leave=partial(local.leave, sid, audience),
    )
    principal.rooms.add(room_id)
    present = await list_present(caller, room_id)
    return Joined(room=RoomBody.of(room), present=[PersonBody.of(each) for each in present])


@router.on("leave", dependencies=[AuthenticatedEvent], ordered=True)
async def leave(
    reference: RoomReference,
    principal: PrincipalDep,
    connection: HTTPConnection,
    leave_room: UseCase[LeaveRoom],
) -> None:
    """Leave a room with this connection. To leave one that it is not in is no error."""
    await _leave(local_connections(connection), principal, RoomId(reference.room), leave_room)


async def leave_what_is_forbidden(
    local: LocalConnections, principal: Principal, leave_room: LeaveRoom
) -> None:
    """Leave all rooms, and tell the client why, if its user may join none any more."""
    permission = permission_of("/", f"{_PREFIX}join").value
    if not principal.rooms or principal.caller.access.allows(permission):
        return
    for room_id in [*principal.rooms]:
        await _leave(local, principal, room_id, leave_room)
    refusal = socket_error(PermissionDenied(permission, principal.caller.user_id))
    error = envelope(f"{_PREFIX}join", refusal)
    await local.sio.emit("error", error, to=principal.sid, ignore_queue=True)


async def _leave(
    local: LocalConnections, principal: Principal, room_id: RoomId, leave_room: LeaveRoom
) -> None:
    await local.leave(principal.sid, Audience.room(room_id))
    await leave_room(ConnectionId(principal.sid), room_id)
    principal.rooms.discard(room_id)
    principal.typed_at.pop(room_id, None)
