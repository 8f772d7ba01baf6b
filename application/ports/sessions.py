"""The store of living sessions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from application.settings import Limit
from domain.identity import UserId
from domain.sessions import NewSession, RefreshClaims, Rotation, Session, SessionId, TokenId


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened, and which others of its user ended for it."""

    session: Session
    ended: Sequence[SessionId]


class SessionStore(Protocol):
    """Living sessions. Raises `Unavailable` rather than guess.

    The time is the store's, so the clocks of its callers may differ. A store that was restarted, restored or
    replaced may have forgotten which sessions were ended; so none of those that it knew before is alive.
    """

    async def open(
        self, new: NewSession, *, idle: timedelta, absolute: timedelta, cap: int
    ) -> Opened:
        """Store a session that ends when `idle` passes without a rotation, and after `absolute` in any case.

        Beyond `cap` of its user the oldest end.
        """
        ...

    async def find(self, user_id: UserId, session_id: SessionId) -> Session | None:
        """Return the session if it is alive."""
        ...

    async def of_user(self, user_id: UserId) -> Sequence[Session]:
        """Return the living sessions of a user, the most recently opened first."""
        ...

    async def rotate(
        self,
        shown: RefreshClaims,
        *,
        successor: TokenId,
        fingerprint: str,
        valid_from: datetime,
        idle: timedelta,
        grace: timedelta,
        limit: Limit,
    ) -> Rotation:
        """Decide in one atomic step what becomes of the shown refresh token.

        A session whose `valid_from` is before this one is over.

        Its session's current token: `successor` takes its place. The previous one within `grace` of its
        rotation: the same successor again, at no cost. Another one, or another `fingerprint`: the session
        is ended. Rotations beyond `limit` are refused and change nothing. A token issued later than all that
        the store knows of: the store went back in time; the session is ended, without alarm (`UNKNOWN`).
        """
        ...

    async def end(self, user_id: UserId, session_id: SessionId) -> bool:
        """End a session; tell whether there was one."""
        ...

    async def end_all(self, user_id: UserId) -> int:
        """End all sessions of a user; return how many."""
        ...

    async def end_others(self, user_id: UserId, *, keep: SessionId, valid_from: datetime) -> int:
        """End all sessions of a user but `keep`, which is valid from `valid_from` on; return how many."""
        ...
