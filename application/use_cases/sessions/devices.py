"""Sessions of the caller, and log-out."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from application.ports.sessions import SessionStore
from application.ports.system import Clock
from application.ports.tokens import Tokens
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller, ClientInfo
from domain.identity import UserId, UserNotFound
from domain.sessions import (
    AccessClaims,
    InvalidToken,
    RefreshClaims,
    Session,
    SessionId,
    SessionNotFound,
)


@dataclass(frozen=True, slots=True)
class EndSessions:
    """End sessions of one user and record who did it; the audit entry exists if and only if they ended."""

    uow: UnitOfWorkFactory
    store: SessionStore
    clock: Clock
    audit: RecordAudit

    async def one(
        self, action: str, client: ClientInfo, *, actor: UserId, of: UserId, session_id: SessionId
    ) -> bool:
        """End one session; return whether there was one."""
        async with self.uow() as uow:
            return await self.one_within(
                uow, action, client, actor=actor, of=of, session_id=session_id
            )

    async def all(self, action: str, client: ClientInfo, *, actor: UserId, of: UserId) -> int:
        """End all sessions; return how many."""
        async with self.uow() as uow:
            return await self.all_within(uow, action, client, actor=actor, of=of)

    async def one_within(
        self,
        uow: UnitOfWork,
        action: str,
        client: ClientInfo,
        *,
        actor: UserId,
        of: UserId,
        session_id: SessionId,
    ) -> bool:
        """End one session, and commit `uow` if there was one."""
        await self.audit(
            uow,
            action,
            client,
            actor=actor,
            target=f"user:{of}",
            details={"session": str(session_id)},
        )
        ended = await self.store.end(of, session_id)
        if ended:
            await uow.commit()
        return ended

    async def all_within(
        self, uow: UnitOfWork, action: str, client: ClientInfo, *, actor: UserId, of: UserId
    ) -> int:
        """End all sessions, and commit `uow`."""
        with suppress(UserNotFound):  # then none of theirs is valid anyway
            user = await uow.users.lock(of)
            user.end_sessions(at=self.clock.now())
            await uow.users.save(user)
        ended = await self.store.end_all(of)
        await self.audit(
            uow, action, client, actor=actor, target=f"user:{of}", details={"sessions": ended}
        )
        await uow.commit()
        return ended


@dataclass(frozen=True, slots=True)
class LogOut:
    """End the session that a token belongs to. Ending an ended session is no error."""

    tokens: Tokens
    end: EndSessions

    async def __call__(
        self, client: ClientInfo, *, access_token: str | None, refresh_token: str | None
    ) -> None:
        """Take an access token, expired or not, or else a refresh token; raise `InvalidToken` if neither is ours."""
        claims = self.verify(access_token, refresh_token)
        await self.end.one(
            "sessions.logged_out",
            client,
            actor=claims.user_id,
            of=claims.user_id,
            session_id=claims.session_id,
        )

    def verify(
        self, access_token: str | None, refresh_token: str | None
    ) -> AccessClaims | RefreshClaims:
        """Return what the first token of ours says; raise `InvalidToken` if neither is ours. No server is asked."""
        if refresh_token is None:
            return self.tokens.verify_access(access_token or "", allow_expired=True)
        if access_token is not None:
            with suppress(InvalidToken):
                return self.tokens.verify_access(access_token, allow_expired=True)
        return self.tokens.verify_refresh(refresh_token)


@dataclass(frozen=True, slots=True)
class LogOutEverywhere:
    """End all sessions of the caller, including this one."""

    end: EndSessions

    async def __call__(self, caller: Caller) -> int:
        return await self.end.all(
            "sessions.logged_out_everywhere",
            caller.client,
            actor=caller.user_id,
            of=caller.user_id,
        )


@dataclass(frozen=True, slots=True)
class ListSessions:
    """List the sessions of the caller."""

    store: SessionStore

    async def __call__(self, caller: Caller) -> Sequence[Session]:
        return await self.store.of_user(caller.user_id)


@dataclass(frozen=True, slots=True)
class EndSession:
    """End one session of the caller."""

    end: EndSessions

    async def __call__(self, caller: Caller, session_id: SessionId) -> None:
        if not await self.end.one(
            "sessions.ended",
            caller.client,
            actor=caller.user_id,
            of=caller.user_id,
            session_id=session_id,
        ):
            raise SessionNotFound(session_id)
