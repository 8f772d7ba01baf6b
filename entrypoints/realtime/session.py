"""The life of a connection: a client connects, replaces its access token in time, and disconnects."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends
from pydantic import BaseModel, Field

from application.ports.event_emitter import Audience
from application.use_cases.realtime.connections import CloseConnection, OpenConnection
from domain.connections import ConnectionId
from domain.errors import Unavailable
from domain.sessions import InvalidToken
from entrypoints.realtime.connections import Principal, local_connections
from entrypoints.realtime.security import (
    AuthenticatedConnection,
    PrincipalDep,
    PublicEvent,
    authenticate,
    check_token,
)
from entrypoints.socketio.parameters import SID, HTTPConnection
from entrypoints.socketio.router import SocketRouter
from entrypoints.wiring import UseCase

router = SocketRouter()


class Credentials(BaseModel):
    """A new access token of the same session."""

    token: Annotated[str, Field(max_length=16_384)]


class Refreshed(BaseModel):
    """Until when the connection lasts."""

    expires_at: Annotated[datetime, Field(serialization_alias="expiresAt")]


class NotificationBody(BaseModel, extra="allow"):
    """What the server tells a user, on all their connections; further fields depend on the kind."""

    kind: Annotated[str, Field(examples=["rooms.member_added"])]


@router.on("connect", dependencies=[AuthenticatedConnection])
async def connect(
    sid: SID,
    principal: Annotated[Principal, Depends(authenticate)],
    connection: HTTPConnection,
    open_connection: UseCase[OpenConnection],
) -> None:
    """Accept a client with a valid access token, and let it get what is sent to its user and its session."""
    local, caller = local_connections(connection), principal.caller
    await open_connection(caller, ConnectionId(sid), local.process)
    for audience in (Audience.user(caller.user_id), Audience.session(caller.session_id)):
        await local.enter(sid, audience)


@router.on("disconnect")
async def disconnect(
    sid: SID, connection: HTTPConnection, close_connection: UseCase[CloseConnection]
) -> None:
    """Forget the connection."""
    local = local_connections(connection)
    local.principals.pop(sid, None)
    try:
        await close_connection(ConnectionId(sid))
    except Unavailable:
        local.unclosed.add(ConnectionId(sid))


@router.on("auth.refresh", dependencies=[PublicEvent])
async def refresh(
    credentials: Credentials, principal: PrincipalDep, connection: HTTPConnection
) -> Refreshed:
    """Replace the access token of the connection by a newer one of the same session.

    The token is what authorizes it, so the event is public.
    """
    checked, expires_at = await check_token(credentials.token, principal.caller.client, connection)
    if checked.caller.session_id != principal.caller.session_id:
        raise InvalidToken("it is of another session than the connection")
    principal.checked, principal.expires_at = checked, expires_at
    return Refreshed(expires_at=expires_at)
