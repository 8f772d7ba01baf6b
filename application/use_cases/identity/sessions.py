"""The sessions of other users, for callers who manage them."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.ports.sessions import SessionStore
from application.ports.unit_of_work import UnitOfWorkFactory
from application.use_cases.access.guard import Authorize
from application.use_cases.caller import Caller
from application.use_cases.identity.authorization import get_manageable_user, lock_manageable_user
from application.use_cases.sessions.devices import EndSessions
from domain.identity import UserId
from domain.sessions import Session, SessionId, SessionNotFound


@dataclass(frozen=True, slots=True)
class ListUserSessions:
    """List the sessions of a user."""

    uow: UnitOfWorkFactory
    store: SessionStore

    async def __call__(self, caller: Caller, user_id: UserId) -> Sequence[Session]:
        """Raise `UserNotFound`, or `BeyondOwnAccess` if the user has more access than the caller."""
        async with self.uow() as uow:
            await get_manageable_user(uow, caller, user_id)
        return await self.store.of_user(user_id)


@dataclass(frozen=True, slots=True)
class EndUserSessions:
    """End one or all sessions of a user."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    end: EndSessions

    async def __call__(
        self, caller: Caller, user_id: UserId, session_id: SessionId | None = None
    ) -> int:
        """Return how many ended; raise `UserNotFound`, `BeyondOwnAccess` or `SessionNotFound`."""
        async with self.uow() as uow:
            await lock_manageable_user(uow, self.authorize, caller, user_id)
            if session_id is None:
                return await self.end.all_within(
                    uow, "sessions.ended", caller.client, actor=caller.user_id, of=user_id
                )
            if not await self.end.one_within(
                uow,
                "sessions.ended",
                caller.client,
                actor=caller.user_id,
                of=user_id,
                session_id=session_id,
            ):
                raise SessionNotFound(session_id)
        return 1
