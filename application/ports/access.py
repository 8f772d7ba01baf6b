"""What access needs from outside: roles in the store, and versions that tell when they changed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from application.paging import Page, PageRequest
from domain.access import Access, Amount, Role, RoleCode, RoleId, RoleStatus, RoleSummary
from domain.identity import User, UserId
from domain.sessions import SessionId


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

    async def page(self, which: RoleFilter, page: PageRequest) -> Page[RoleSummary]:
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

    async def holders(self, role_ids: Collection[RoleId]) -> Mapping[RoleId, int]:
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


SETTLE_AFTER = timedelta(seconds=60)
"""How long after `begin` a change of access that nobody finishes settles by itself."""

REMEMBER_FOR = timedelta(minutes=10)
"""How long one version lasts at most, so that even what was changed behind our back (by SQL, say) arrives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one look says about a user and one of their sessions."""

    session_alive: bool
    version: str
    """Another text after every change to the access of this user, and every `REMEMBER_FOR`."""
    settled: bool
    """False while a change is under way: then the relational store decides, and nothing is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of what these users may do, or `everyone`."""

    id: UUID
    user_ids: Collection[UserId] = ()
    everyone: bool = False


class AccessVersions(Protocol):
    """Tells every process when what it remembers of somebody's access is out of date.

    Readers look first and read the relational store second. They remember what they read only if the look
    was settled, under its version, and use it only under the version of a later look. Writers write, begin,
    commit, finish: any of it may fail, or never come.

    Why nobody uses at a look L what was read after a look K if a change was committed between that read and
    L: versions never repeat, so none moved between K and L. Hence the change began before K and did not
    finish before L; it was under way at K, yet K was settled. So its mark was gone:

    - It had lapsed. Then K came `SETTLE_AFTER` after the begin, and by then the commit is done or will never be
      (`UnitOfWork.commit`). What was read after K has the change.
    - It was lost. Whoever finds that the store lost something, or may have (it was restarted, emptied, restored,
      replaced), moves everyone's version and leaves everyone unsettled for `SETTLE_AFTER`. K came later than
      that, and the same holds.

    Time is measured by the store alone. Raises `Unavailable` rather than guess.
    """

    async def look(self, user_id: UserId, session_id: SessionId) -> Standing:
        """Return the standing in at most one round trip, which concurrent callers may share.

        It is never older than the call: a caller shares only what is asked of the store afterwards.
        """
        ...

    async def begin(self, change: Change) -> None:
        """Make its users unsettled for `SETTLE_AFTER` and move their versions; the last thing before the commit."""
        ...

    async def finish(self, change: Change) -> None:
        """Move the versions again, and settle unless another change is under way."""
        ...


class AccessCache(Protocol):
    """Remembers what users may do, shared by all processes. Raises `Unavailable`."""

    async def get(self, user_id: UserId, version: str) -> Access | None:
        """Return what was put under exactly this version, if it is still there."""
        ...

    async def put(self, user_id: UserId, version: str, access: Access) -> None:
        """Remember for no longer than an access token lives, in place of what was put for this user before."""
        ...
