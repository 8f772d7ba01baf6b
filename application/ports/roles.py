"""Roles of one unit of work, and which users have them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from application.paging import Page, PageRequest
from domain.access import Access, Amount, Role, RoleCode, RoleId, RoleStatus, RoleSummary
from domain.identity import User, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFilter:
    """Which roles to list; `keyword` is a literal part of the name or the code (case aside)."""

    keyword: str | None = None
    status: RoleStatus | None = None


class RoleRepository(Protocol):
    """Roles of one unit of work, and who has them. Every method hands out copies."""

    async def add(self, role: Role) -> None:
        """Store a new role; raise `RoleNameTaken` or `RoleCodeTaken`."""
        ...

    async def find(self, role_id: RoleId) -> Role | None:
        """Return the role if there is one."""
        ...

    async def lock(self, role_ids: Collection[RoleId]) -> Sequence[Role]:
        """Return those roles, ordered by code; raise `RoleNotFound` with the ids of those that are gone.

        Until this unit of work ends nobody else can change them, give them away or lock them.
        """
        ...

    async def save(self, role: Role) -> None:
        """Store every field of a locked role; raise `RoleNotFound`, `RoleNameTaken` or `RoleCodeTaken`."""
        ...

    async def delete(self, role_ids: Collection[RoleId]) -> None:
        """Remove locked roles, and take them from whoever has them."""
        ...

    async def page(self, criteria: RoleFilter, page: PageRequest) -> Page[RoleSummary]:
        """Return one page, ordered by code."""
        ...

    async def all(self) -> Sequence[RoleSummary]:
        """Return every role, ordered by code."""
        ...

    async def by_codes(self, codes: Collection[RoleCode]) -> Sequence[Role]:
        """Return the roles that have these codes; unknown codes are left out."""
        ...

    async def of_users(self, user_ids: Collection[UserId]) -> Mapping[UserId, Sequence[Role]]:
        """Return the roles of each of these users, ordered by code; in one statement."""
        ...

    async def summaries_of(
        self, user_ids: Collection[UserId]
    ) -> Mapping[UserId, Sequence[RoleSummary]]:
        """Return the roles of each of these users as `of_users` does, but not what they give."""
        ...

    async def amount_of(self, codes: Collection[RoleCode]) -> Amount:
        """Return how much the roles that have these codes give together."""
        ...

    async def largest_amount_with(self, role_id: RoleId) -> Amount:
        """Return how much of each the roles of one user with this role give together, at the most."""
        ...

    async def assign(self, user_id: UserId, role_ids: Collection[RoleId]) -> None:
        """Give a locked or new user exactly these roles; raise `RoleNotFound` if one is gone by now."""
        ...

    async def count_users(self, role_ids: Collection[RoleId]) -> Mapping[RoleId, int]:
        """Return how many users have each of these roles, 0 included."""
        ...

    async def users_with(self, role_id: RoleId, page: PageRequest) -> Page[User]:
        """Return one page of the users who have a role, ordered by username."""
        ...

    async def lock_access(self, *, to_change: bool = False) -> None:
        """Until this unit of work ends, what anybody may do stays as it is; with `to_change`, for all others.

        Waits for who has locked it otherwise. The first thing that is locked: two never wait for each other.
        """
        ...

    async def access_of(self, user_id: UserId) -> Access | None:
        """Return what a user may do right now, in one statement; None if there is no such user."""
        ...
