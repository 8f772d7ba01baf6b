"""Roles in memory, and their users."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from adapters.memory.store import MemoryTable, MemoryTransaction, UserRoles, page_of, sorted_by
from application.paging import Page, PageRequest, Sort
from application.ports.roles import RoleFilter, RoleRepository
from domain.access import Access
from domain.identity import User, UserId
from domain.roles import (
    Amount,
    Role,
    RoleCode,
    RoleCodeTaken,
    RoleId,
    RoleNameTaken,
    RoleNotFound,
    RoleSummary,
    grants_of,
)
from domain.text import search_key


class MemoryRoleRepository(RoleRepository):
    """Roles and role assignments of one transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self._roles: MemoryTable[RoleId, Role] = transaction.table(Role)
        self._users: MemoryTable[UserId, User] = transaction.table(User)
        self._user_roles: MemoryTable[UserId, frozenset[RoleId]] = transaction.table(
            UserRoles, cascade=User
        )
        self._roles.validate = self._check_unique
        self._user_roles.validate = self._check_roles_exist

    async def add(self, role: Role) -> None:
        self._roles.write(role.id, role)

    async def find(self, role_id: RoleId) -> Role | None:
        return self._roles.find(role_id)

    async def lock(self, role_ids: Collection[RoleId]) -> Sequence[Role]:
        await self._transaction.lock(*_locks(role_ids))
        self._check_roles_exist(role_ids)
        return self._ordered(lambda role: role.id in role_ids)

    async def save(self, role: Role) -> None:
        await self.lock([role.id])
        self._roles.write(role.id, role)

    async def delete(self, role_ids: Collection[RoleId]) -> None:
        await self._transaction.lock(*_locks(role_ids))
        for role_id in role_ids:
            self._roles.remove(role_id)

    async def page(self, criteria: RoleFilter, page: PageRequest) -> Page[RoleSummary]:
        needle = search_key(criteria.keyword or "")

        def matches(role: Role) -> bool:
            return (
                (criteria.status is None or role.status is criteria.status)
                and needle is not None
                and (needle in role.code.key or needle in role.name_key)
            )

        sort = page.sort or Sort("code")
        found = sorted_by(self._roles.where(matches), sort, _SORTS)
        return page_of([role.summary() for role in found], page)

    async def all(self) -> Sequence[RoleSummary]:
        return [role.summary() for role in self._ordered(lambda _: True)]

    async def by_codes(self, codes: Collection[RoleCode]) -> Sequence[Role]:
        return self._ordered(lambda role: role.code in codes)

    async def of_users(self, user_ids: Collection[UserId]) -> Mapping[UserId, Sequence[Role]]:
        found = {user_id: roles_of(self._transaction, user_id) for user_id in user_ids}
        return {user_id: roles for user_id, roles in found.items() if roles}

    async def summaries_of(
        self, user_ids: Collection[UserId]
    ) -> Mapping[UserId, Sequence[RoleSummary]]:
        found = await self.of_users(user_ids)
        return {user_id: [role.summary() for role in roles] for user_id, roles in found.items()}

    async def amount_of(self, codes: Collection[RoleCode]) -> Amount:
        return _sum(role.amount for role in await self.by_codes(codes))

    async def largest_amount_with(self, role_id: RoleId) -> Amount:
        of_each = [
            _sum(role.amount for role in roles_of(self._transaction, user.id))
            for user in self._users_with(role_id)
        ]
        return Amount(
            patterns=max((each.patterns for each in of_each), default=0),
            codes=max((each.codes for each in of_each), default=0),
            buttons=max((each.buttons for each in of_each), default=0),
            routers=max((each.routers for each in of_each), default=0),
        )

    async def assign(self, user_id: UserId, role_ids: Collection[RoleId]) -> None:
        await self._transaction.wait_for(*_locks(role_ids))
        self._check_roles_exist(role_ids)
        self._user_roles.write(user_id, frozenset(role_ids))

    async def count_users(self, role_ids: Collection[RoleId]) -> Mapping[RoleId, int]:
        return {role_id: len(self._users_with(role_id)) for role_id in role_ids}

    async def users_with(self, role_id: RoleId, page: PageRequest) -> Page[User]:
        found = self._users_with(role_id)
        return page_of(sorted_users(found, page), page)

    async def lock_access(self, *, to_change: bool = False) -> None:
        del to_change  # one at a time keeps either promise
        await self._transaction.lock("access")

    async def access_of(self, user_id: UserId) -> Access | None:
        user = self._users.find(user_id)
        if user is None:
            return None
        return Access(
            is_active=user.is_active,
            is_admin=user.is_admin,
            must_change_password=user.must_change_password,
            grants=grants_of(roles_of(self._transaction, user_id)),
        )

    def _ordered(self, condition: Callable[[Role], bool]) -> Sequence[Role]:
        return sorted(self._roles.where(condition), key=_by_code)

    def _users_with(self, role_id: RoleId) -> Sequence[User]:
        held = self._user_roles
        return self._users.where(lambda user: role_id in (held.find(user.id) or ()))

    def _check_roles_exist(self, role_ids: Collection[RoleId]) -> None:
        gone = [role_id for role_id in role_ids if self._roles.find(role_id) is None]
        if gone:
            raise RoleNotFound(*sorted(gone))

    def _check_unique(self, role: Role) -> None:
        if self._roles.where(lambda o: o.id != role.id and o.code == role.code):
            raise RoleCodeTaken(role.code)
        if self._roles.where(lambda o: o.id != role.id and o.name_key == role.name_key):
            raise RoleNameTaken(role.name)


def roles_of(transaction: MemoryTransaction, user_id: UserId) -> Sequence[Role]:
    """Return the roles that a user has, ordered by code."""
    roles: MemoryTable[RoleId, Role] = transaction.table(Role)
    held = transaction.table(UserRoles).find(user_id) or frozenset()
    return sorted(roles.where(lambda role: role.id in held), key=_by_code)


def _sum(amounts: Iterable[Amount]) -> Amount:
    total = Amount()
    for each in amounts:
        total = Amount(
            patterns=total.patterns + each.patterns,
            codes=total.codes + each.codes,
            buttons=total.buttons + each.buttons,
            routers=total.routers + each.routers,
        )
    return total


def sorted_users(users: Iterable[User], page: PageRequest) -> Sequence[User]:
    """Return users in the order that a page asks for."""
    return sorted_by(users, page.sort or Sort("username"), _SORTS_OF_USERS)


_SORTS: Mapping[str, Callable[[Role], Any]] = {
    "code": lambda role: role.code.key,
    "name": lambda role: role.name_key,
    "created_at": lambda role: (role.created_at, role.id),
    "updated_at": lambda role: (role.updated_at, role.id),
}
_SORTS_OF_USERS: Mapping[str, Callable[[User], Any]] = {
    "username": lambda user: user.username.key,
    "email": lambda user: user.email.key,
    "name": lambda user: (user.name.key, user.id),
    "created_at": lambda user: (user.created_at, user.id),
}


def _by_code(role: Role) -> str:
    return role.code.key


def _locks(role_ids: Collection[RoleId]) -> list[tuple[str, RoleId]]:
    # All lock in the same order, so that two transactions never wait for each other.
    return [("role", role_id) for role_id in sorted(set(role_ids))]
