"""Sessions of the caller, and of other users for those who manage them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import Field

from application.use_cases.identity.sessions import EndUserSessions, ListUserSessions
from application.use_cases.sessions.devices import EndSession, ListSessions
from domain.identity import UserId
from domain.sessions import SessionId
from entrypoints.http.envelope import ApiModel, Envelope
from entrypoints.http.router import Router
from entrypoints.http.security import (
    AuthenticatedRoute,
    CallerDep,
    GuardedRoute,
    VerifyPermissionDep,
)
from entrypoints.wiring import UseCase

router = Router()


class SessionBody(ApiModel):
    """A living session: one device that is logged in."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b22"])
    agent: str = Field(
        description="The User-Agent at log-in.",
        examples=["Mozilla/5.0 (X11; Linux x86_64)"],
    )
    address: str = Field(description="The client's address at log-in.", examples=["203.0.113.7"])
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    last_seen_at: datetime = Field(
        description="Time of the last token refresh.", examples=["2026-01-01T08:00:00Z"]
    )
    ends_at: datetime = Field(
        description="The session ends at this time at the latest.",
        examples=["2026-01-31T00:00:00Z"],
    )
    current: bool = Field(
        description="Whether this request belongs to this session.", examples=[True]
    )


@router.get("/auth/sessions", dependencies=[AuthenticatedRoute])
async def list_sessions(
    caller: CallerDep, list_sessions: UseCase[ListSessions]
) -> Envelope[Sequence[SessionBody]]:
    """List the sessions of the caller, newest first."""
    return Envelope(
        data=[
            SessionBody.present(session, current=session.id == caller.session_id)
            for session in await list_sessions(caller)
        ]
    )


@router.delete("/auth/sessions/{session_id}", dependencies=[AuthenticatedRoute])
async def end_session(
    session_id: UUID, caller: CallerDep, end_session: UseCase[EndSession]
) -> Envelope[None]:
    """End one session of the caller."""
    await end_session(caller, SessionId(session_id))
    return Envelope(data=None)


@router.get("/users/{user_id}/sessions", dependencies=[GuardedRoute])
async def list_user_sessions(
    user_id: UUID, caller: VerifyPermissionDep, list_user_sessions: UseCase[ListUserSessions]
) -> Envelope[Sequence[SessionBody]]:
    """List the sessions of a user, newest first."""
    return Envelope(
        data=[
            SessionBody.present(session, current=session.id == caller.session_id)
            for session in await list_user_sessions(caller, UserId(user_id))
        ]
    )


@router.delete("/users/{user_id}/sessions", dependencies=[GuardedRoute])
async def end_user_sessions(
    user_id: UUID, caller: VerifyPermissionDep, end_user_sessions: UseCase[EndUserSessions]
) -> Envelope[None]:
    """End all sessions of a user."""
    await end_user_sessions(caller, UserId(user_id))
    return Envelope(data=None)


@router.delete("/users/{user_id}/sessions/{session_id}", dependencies=[GuardedRoute])
async def end_user_session(
    user_id: UUID,
    session_id: UUID,
    caller: VerifyPermissionDep,
    end_user_sessions: UseCase[EndUserSessions],
) -> Envelope[None]:
    """End one session of a user."""
    await end_user_sessions(caller, UserId(user_id), SessionId(session_id))
    return Envelope(data=None)
