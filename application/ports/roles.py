"""Roles of one unit of work, and which users have them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from application.paging import Page, PageRequest
from domain.access import Access
from domain.identity import User, UserId
from domain.roles import Amount, Role, RoleCode, RoleId, RoleStatus, RoleSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFilter:
    """The roles to list; `keyword` is a part of the name or the code (case is ignored, no wildcards)."""

    keyword: str | None = None
    status: RoleStatus | None = None


class RoleRepository(Protocol):
    """Roles of one unit of work, and the users who have them. All methods return copies."""

    async def add(self, role: Role) -> None:
        """Store a new role; raise `RoleNameTaken` or `RoleCodeTaken`."""
        ...

    async def find(self, role_id: RoleId) -> Role | None:
        """Return the role, or None."""
        ...

    async def lock(self, role_ids: Collection[RoleId]) -> Sequence[Role]:
        """Lock and return these roles, ordered by code; raise `RoleNotFound` with the missing ids.

        Until this unit of work ends, no other one can change, assign or lock them.
        """
        ...

    async def save(self, role: Role) -> None:
        """Store every field of a locked role; raise `RoleNotFound`, `RoleNameTaken` or `RoleCodeTaken`."""
        ...

    async def delete(self, role_ids: Collection[RoleId]) -> None:
        """Delete locked roles, and remove them from their users."""
        ...

    async def page(self, criteria: RoleFilter, page: PageRequest) -> Page[RoleSummary]:
        """Return one page, ordered by code."""
        ...

    async def all(self) -> Sequence[RoleSummary]:
        """Return every role, ordered by code."""
        ...

    async def by_codes(self, codes: Collection[RoleCode]) -> Sequence[Role]:
        """Return the roles with these codes; unknown codes are ignored."""
        ...

    async def of_users(self, user_ids: Collection[UserId]) -> Mapping[UserId, Sequence[Role]]:
        """Return the roles of each of these users, ordered by code; in one statement."""
        ...

    async def summaries_of(
        self, user_ids: Collection[UserId]
    ) -> Mapping[UserId, Sequence[RoleSummary]]:
        """Return the roles of each of these users without their permissions; in one statement."""
        ...

    async def amount_of(self, codes: Collection[RoleCode]) -> Amount:
        """Return the total amount of permissions of the roles with these codes."""
        ...

    async def largest_amount_with(self, role_id: RoleId) -> Amount:
        """Return, for each kind of permission, the largest total amount among the users with this role."""
        ...

    async def assign(self, user_id: UserId, role_ids: Collection[RoleId]) -> None:
        """Set the roles of a locked or new user; raise `RoleNotFound` if one was deleted meanwhile."""
        ...

    async def count_users(self, role_ids: Collection[RoleId]) -> Mapping[RoleId, int]:
        """Return the number of users of each of these roles; it may be 0."""
        ...

    async def users_with(self, role_id: RoleId, page: PageRequest) -> Page[User]:
        """Return one page of the users who have a role, ordered by username."""
        ...

    async def lock_access(self, *, to_change: bool = False) -> None:
        """Lock the access of all users until this unit of work ends: shared, or exclusive with `to_change`.

        Waits for conflicting locks of others. Take this lock first: then no deadlock is possible.
        """
        ...

    async def access_of(self, user_id: UserId) -> Access | None:
        """Return the current access of a user, in one statement, or None if the user does not exist."""
        ...
