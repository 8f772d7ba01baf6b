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
    """The opened session, and the sessions of its user that were ended to make room."""

    session: Session
    ended: Sequence[SessionId]


class SessionStore(Protocol):
    """Living sessions. Raises `Unavailable` rather than guess.

    Time is that of the store, so the clocks of callers may differ. A store that was restarted, restored or
    replaced may have lost the end of a session; so no session from before is alive.
    """

    async def open(
        self, new: NewSession, *, idle: timedelta, absolute: timedelta, cap: int
    ) -> Opened:
        """Store a session. It ends after `idle` without a rotation, and after `absolute` at the latest.

        If the user then has more than `cap` sessions, the oldest ones end.
        """
        ...

    async def find(self, user_id: UserId, session_id: SessionId) -> Session | None:
        """Return the session if it is alive."""
        ...

    async def of_user(self, user_id: UserId) -> Sequence[Session]:
        """Return the living sessions of a user, newest first."""
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
        """Rotate the shown refresh token in one atomic step.

        - The current token of its session is replaced by `successor`.
        - The previous token, within `grace` of its rotation, gets the same successor again; `limit` does not count it.
        - Any other token, or another `fingerprint`, ends the session.
        - A token that was issued after every token the store knows of means that the store was restored from an
          older state: the session ends without alarm (`UNKNOWN`).
        - A session whose `valid_from` is before the given one has ended.
        - A rotation beyond `limit` is refused and changes nothing.
        """
        ...

    async def end(self, user_id: UserId, session_id: SessionId) -> bool:
        """End a session; return whether there was one."""
        ...

    async def end_all(self, user_id: UserId) -> int:
        """End all sessions of a user; return how many."""
        ...

    async def end_others(self, user_id: UserId, *, keep: SessionId, valid_from: datetime) -> int:
        """End all sessions of a user except `keep`, whose `valid_from` is set; return how many."""
        ...
