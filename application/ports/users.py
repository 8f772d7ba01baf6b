"""Users of one unit of work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.paging import Page, PageRequest
from domain.audit_log import AuditEntry
from domain.identity import User, UserId, UserStatus
from domain.roles import Role, RoleCode


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFilter:
    """The users to list; `keyword` is a part of the username, email or name (case is ignored, no wildcards)."""

    keyword: str | None = None
    status: UserStatus | None = None
    role: RoleCode | None = None


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """What the name in a log-in stands for: a user, or an unknown name, which takes the same time to find."""

    user_id: UserId | None
    """None if no user has this name."""
    user: Callable[[], User | None]
    """Makes the user of the row. Only known names take this time, so wait until the throttle has answered."""


class UserRepository(Protocol):
    """Users of one unit of work. All methods return copies."""

    async def add(self, user: User) -> None:
        """Store a new user; raise `UsernameTaken` or `EmailTaken`."""
        ...

    async def find(self, user_id: UserId) -> User | None:
        """Return the user, or None."""
        ...

    async def lock(self, user_id: UserId) -> User:
        """Lock the user against other units of work and return it; raise `UserNotFound`."""
        ...

    async def save(self, user: User) -> None:
        """Store every field of a locked user; raise `UserNotFound`, `UsernameTaken` or `EmailTaken`."""
        ...

    async def find_by_login(self, name: str) -> User | None:
        """Return the user whose username, or else whose email, is `name` (case is ignored), or None."""
        ...

    async def find_account(self, name: str) -> FoundAccount:
        """Return what `find_by_login` finds, equally fast for unknown names."""
        ...

    async def record_login(
        self, verified: User, *, rehashed: str | None, at: datetime, entry: AuditEntry
    ) -> Sequence[Role] | None:
        """Record a log-in at `at` with its audit entry, store `rehashed` if given, and use up a one-time password.

        Return the user's roles, ordered by code, as they were when it began. Return None and change nothing if the user
        was deleted or disabled meanwhile, or if since `verified` was read the password was changed, all sessions were
        ended, or a one-time password was used or expired.
        """
        ...

    async def has_active_administrator(self, *, other_than: UserId | None = None) -> bool:
        """Return whether there is an active administrator besides `other_than`."""
        ...

    async def page(self, criteria: UserFilter, page: PageRequest) -> Page[User]:
        """Return one page, ordered by username."""
        ...

    async def delete(self, user_id: UserId) -> None:
        """Delete a locked user and their role assignments; raise `UserNotFound`."""
        ...
