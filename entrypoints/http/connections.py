"""The open connections of Socket.IO, of all processes."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Path, Query
from pydantic import Field, StringConstraints

from application.use_cases.realtime.connections import EndConnection, ListConnections
from domain.connections import ConnectionId
from domain.identity import UserId
from entrypoints.http.envelope import ApiModel, Envelope, MayBeLeftOut
from entrypoints.http.paging import Slice
from entrypoints.http.query_types import Number
from entrypoints.http.router import Router
from entrypoints.http.security import GuardedRoute, VerifyPermissionDep
from entrypoints.wiring import UseCase

router = Router(prefix="/realtime/connections")

_SID = r"^[A-Za-z0-9_-]{20}$"  # as python-engineio makes them


class ConnectionsQuery(ApiModel):
    """Which connections to list."""

    user: MayBeLeftOut[UUID] = Field(default=None, description="The user whose they are.")
    cursor: MayBeLeftOut[Annotated[str, StringConstraints(pattern=_SID)]] = Field(
        default=None, description="The `nextCursor` of the previous response."
    )
    page_size: Number = Field(
        default=20, ge=1, le=100, description="The number of records to return."
    )


class ConnectionBody(ApiModel):
    """An open connection of a user."""

    sid: str = Field(description="The id of the connection.", examples=["61H936zPGuBKIQOwAAAD"])
    user_id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"])
    user_name: str = Field(examples=["Ada Lovelace"])
    session_id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b22"])
    process: str = Field(
        description="The process that the client is connected to.",
        examples=["0199a3f07c1e7a529d6b3f1f0c7e4b23"],
    )
    address: str = Field(description="The client's address.", examples=["203.0.113.7"])
    agent: str = Field(
        description="The client's User-Agent.", examples=["Mozilla/5.0 (X11; Linux x86_64)"]
    )
    since: datetime = Field(examples=["2026-01-01T00:00:00Z"])


@router.get("", dependencies=[GuardedRoute])
async def list_connections(
    query: Annotated[ConnectionsQuery, Query()], list_connections: UseCase[ListConnections]
) -> Envelope[Slice[ConnectionBody]]:
    """List the open connections, ordered by their ids."""
    found = await list_connections(
        user_id=None if query.user is None else UserId(query.user),
        after=None if query.cursor is None else ConnectionId(query.cursor),
        limit=query.page_size + 1,
    )
    shown = [
        ConnectionBody.present(each, sid=each.id, user_id=each.user.id, user_name=each.user.name)
        for each in found[: query.page_size]
    ]
    is_last = len(found) <= query.page_size
    return Envelope(data=Slice(records=shown, next_cursor=None if is_last else shown[-1].sid))


@router.delete("/{sid}", dependencies=[GuardedRoute])
async def end_connection(
    sid: Annotated[str, Path(pattern=_SID)],
    caller: VerifyPermissionDep,
    end_connection: UseCase[EndConnection],
) -> Envelope[None]:
    """End a connection. The session of its user goes on, so the client may connect again."""
    await end_connection(caller, ConnectionId(sid))
    return Envelope(data=None)
