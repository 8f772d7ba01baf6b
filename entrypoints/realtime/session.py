"""The life of a connection: a client connects, replaces its access token in time, and disconnects."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from domain.sessions import InvalidToken
from entrypoints.realtime.security import (
    AuthenticatedConnection,
    PrincipalDep,
    PublicEvent,
    check_token,
    principals_of,
)
from entrypoints.socketio.parameters import SID, HTTPConnection
from entrypoints.socketio.router import SocketRouter

router = SocketRouter()


class Credentials(BaseModel):
    """A new access token of the same session."""

    token: Annotated[str, Field(max_length=16_384)]


class Refreshed(BaseModel):
    """Until when the connection lasts."""

    expires_at: Annotated[datetime, Field(serialization_alias="expiresAt")]


@router.on("connect", dependencies=[AuthenticatedConnection])
async def connect() -> None:
    """Accept a client with a valid access token."""


@router.on("disconnect")
async def disconnect(sid: SID, connection: HTTPConnection) -> None:
    """Forget whose the connection was."""
    principals_of(connection).pop(sid, None)


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
