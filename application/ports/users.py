"""Users of one unit of work."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.paging import Page, PageRequest
from domain.access import RoleCode
from domain.identity import User, UserId, UserStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFilter:
    """Which users to list; `keyword` is a literal part of the username, the email or the name (case aside)."""

    keyword: str | None = None
    status: UserStatus | None = None
    role: RoleCode | None = None


class UserRepository(Protocol):
    """Users of one unit of work. Every method hands out copies."""

    async def add(self, user: User) -> None:
        """Store a new user; raise `UsernameTaken` or `EmailTaken`."""
        ...

    async def find(self, user_id: UserId) -> User | None:
        """Return the user if there is one."""
        ...

    async def lock(self, user_id: UserId) -> User:
        """Return the user, whom nobody else can lock or save until this unit of work ends; raise `UserNotFound`."""
        ...

    async def save(self, user: User) -> None:
        """Store every field of a locked user; raise `UserNotFound`, `UsernameTaken` or `EmailTaken`."""
        ...

    async def find_by_login(self, name: str) -> User | None:
        """Return whose username, or else whose email, is `name` (case aside); None for any text that is neither."""
        ...

    async def id_of_login(self, name: str) -> UserId | None:
        """Return the id of whom `find_by_login` returns; as fast for a name that nobody has as for any other."""
        ...

    async def record_login(self, verified: User, *, rehashed: str | None, at: datetime) -> bool:
        """Note a log-in at `at`, store `rehashed` if there is one, and use up a one-time password.

        Return False, and change nothing, if the user is gone or disabled by now, or if since `verified` was
        read the password was changed, all sessions were ended, or a one-time password was used or expired.
        """
        ...

    async def has_active_administrator(self, *, other_than: UserId | None = None) -> bool:
        """Tell whether somebody, or somebody else, could administrate."""
        ...

    async def page(self, criteria: UserFilter, page: PageRequest) -> Page[User]:
        """Return one page, ordered by username."""
        ...

    async def delete(self, user_id: UserId) -> None:
        """Remove a locked user, and with them their hold on roles; raise `UserNotFound`."""
        ...
