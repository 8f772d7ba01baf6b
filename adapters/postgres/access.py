"""`RoleRepository` in the tables `roles` and `user_roles`."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, and_, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from adapters.postgres.identity import has_role, user_records
from adapters.postgres.records import Records, among, contains
from adapters.postgres.tables import AdvisoryLock, roles, user_roles, users
from adapters.postgres.transaction import Transaction
from application.paging import Page, PageRequest
from application.ports.access import RoleFilter, RoleRepository
from domain.access import (
    Access,
    Grant,
    Grants,
    Role,
    RoleCode,
    RoleCodeTaken,
    RoleId,
    RoleNameTaken,
    RoleNotFound,
    RoleStatus,
)
from domain.errors import PorticoError
from domain.identity import User, UserId, UserStatus
from domain.text import sought


class PostgresRoleRepository(RoleRepository):
    """Roles, and who has them, seen through one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._records = Records(transaction, roles, to_row=to_row, of_row=to_role)
        self._users = user_records(transaction)

    async def add(self, role: Role) -> None:
        await self._records.add(role, conflicts=_conflicts_of(role))

    async def find(self, role_id: RoleId) -> Role | None:
        return await self._records.find(roles.c.id == role_id)

    async def lock(self, role_ids: Collection[RoleId]) -> Sequence[Role]:
        locked = await self._records.lock(among(roles.c.id, role_ids), references=False)
        if gone := set(role_ids) - {role.id for role in locked}:
            raise RoleNotFound(*sorted(gone))
        return sorted(locked, key=lambda role: role.code.value)

    async def save(self, role: Role) -> None:
        if not await self._records.save(role, conflicts=_conflicts_of(role)):
            raise RoleNotFound(role.id)

    async def delete(self, role_ids: Collection[RoleId]) -> None:
        await self._records.delete(among(roles.c.id, role_ids))

    async def page(self, which: RoleFilter, page: PageRequest) -> Page[Role]:
        conditions = []
        if which.status is not None:
            conditions.append(roles.c.status == which.status)
        if which.keyword:
            needle = sought(which.keyword)
            if needle is None:
                return Page([], 0)
            conditions.append(contains([roles.c.code, roles.c.name_key], needle))
        return await self._records.page(page, *conditions, order_by=roles.c.code)

    async def all(self) -> Sequence[Role]:
        return await self._records.all(order_by=roles.c.code)

    async def by_codes(self, codes: Collection[RoleCode]) -> Sequence[Role]:
        wanted = among(roles.c.code, [code.value for code in codes])
        return await self._records.all(wanted, order_by=roles.c.code)

    async def of_users(self, user_ids: Collection[UserId]) -> Mapping[UserId, Sequence[Role]]:
        found = defaultdict[UserId, list[Role]](list)
        rows = await self._transaction.read(
            select(user_roles.c.user_id, roles)
            .join_from(user_roles, roles)
            .where(among(user_roles.c.user_id, user_ids))
            .order_by(roles.c.code)
        )
        for row in rows:
            found[UserId(row.user_id)].append(to_role(row))
        return dict(found)

    async def assign(self, user_id: UserId, role_ids: Collection[RoleId]) -> None:
        # Nobody removes them from here on; whoever is about to is waited for.
        locked = await self._transaction.write(
            select(roles.c.id)
            .where(among(roles.c.id, role_ids))
            .order_by(roles.c.id)
            .with_for_update(read=True, key_share=True)
        )
        if gone := set(role_ids) - set(locked.scalars()):
            raise RoleNotFound(*sorted(gone))
        await self._transaction.write(
            delete(user_roles).where(
                user_roles.c.user_id == user_id, ~among(user_roles.c.role_id, role_ids)
            )
        )
        if role_ids:
            await self._transaction.write(
                insert(user_roles).on_conflict_do_nothing(),
                [{"user_id": user_id, "role_id": role_id} for role_id in role_ids],
            )

    async def holders(self, role_ids: Collection[RoleId]) -> Mapping[RoleId, int]:
        rows = await self._transaction.read(
            select(user_roles.c.role_id, func.count().label("users"))
            .where(among(user_roles.c.role_id, role_ids))
            .group_by(user_roles.c.role_id)
        )
        return dict.fromkeys(role_ids, 0) | {RoleId(row.role_id): row.users for row in rows}

    async def users_with(self, role_id: RoleId, page: PageRequest) -> Page[User]:
        return await self._users.page(page, has_role(role_id), order_by=users.c.username_key)

    async def lock_access(self, *, to_change: bool = False) -> None:
        lock = func.pg_advisory_xact_lock if to_change else func.pg_advisory_xact_lock_shared
        await self._transaction.write(select(lock(AdvisoryLock.ACCESS)))

    async def access_of(self, user_id: UserId) -> Access | None:
        held = user_roles.join(
            roles,
            and_(roles.c.id == user_roles.c.role_id, roles.c.status == RoleStatus.ACTIVE),
        )
        rows = (
            await self._transaction.read(
                select(
                    *(users.c.status, users.c.is_admin, users.c.must_change_password),
                    *(roles.c.grants, roles.c.buttons, roles.c.routers),
                )
                .select_from(users.outerjoin(held, user_roles.c.user_id == users.c.id))
                .where(users.c.id == user_id)
            )
        ).all()
        if not rows:
            return None
        user = rows[0]
        return Access(
            is_active=user.status == UserStatus.ACTIVE,
            is_admin=user.is_admin,
            must_change_password=user.must_change_password,
            grants=Grants.of(
                (Grant(grant) for row in rows for grant in row.grants or ()),
                (button for row in rows for button in row.buttons or ()),
                (router for row in rows for router in row.routers or ()),
            ),
        )


def to_row(role: Role) -> dict[str, Any]:
    """Return the columns that hold `role`."""
    return {
        "id": role.id,
        "code": role.code.value,
        "name": role.name,
        "name_key": role.name_key,
        "description": role.description,
        "status": role.status.value,
        "grants": sorted(grant.value for grant in role.grants),
        "buttons": sorted(role.buttons),
        "routers": sorted(role.routers),
        "created_at": role.created_at,
        "updated_at": role.updated_at,
    }


def to_role(row: Row[Any]) -> Role:
    """Return the role that a row of `roles` holds."""
    return Role(
        id=RoleId(row.id),
        code=RoleCode(row.code),
        name=row.name,
        description=row.description,
        status=RoleStatus(row.status),
        grants=frozenset(map(Grant, row.grants)),
        buttons=frozenset(row.buttons),
        routers=frozenset(row.routers),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _conflicts_of(role: Role) -> dict[str, PorticoError]:
    return {
        "uq_roles_code": RoleCodeTaken(role.code),
        "uq_roles_name_key": RoleNameTaken(role.name),
    }
