"""`RoleRepository` in the tables `roles` and `user_roles`."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    FromClause,
    Row,
    Select,
    Uuid,
    and_,
    any_,
    bindparam,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from adapters.postgres.role_rows import SUMMARY_COLUMNS, summary_to_row, to_role, to_row, to_summary
from adapters.postgres.table_gateway import OrderBy, TableGateway, any_of, contains
from adapters.postgres.tables import AdvisoryLock
from adapters.postgres.transaction import Transaction
from adapters.postgres.user_tables import roles, user_roles, users
from adapters.postgres.users import has_role, order_of_users, user_gateway
from application.paging import Page, PageRequest, Sort
from application.ports.roles import RoleFilter, RoleRepository
from domain.access import Access
from domain.errors import PorticoError
from domain.grants import Grants, stored_grants
from domain.identity import User, UserId, UserStatus
from domain.roles import (
    Amount,
    Role,
    RoleCode,
    RoleCodeTaken,
    RoleId,
    RoleNameTaken,
    RoleNotFound,
    RoleStatus,
    RoleSummary,
)
from domain.text import search_key

T = TypeVar("T")

_SORTS: Mapping[str, Sequence[Column[Any]]] = {
    "code": (roles.c.code_key,),
    "name": (roles.c.name_key,),
    "created_at": (roles.c.created_at, roles.c.id),
    "updated_at": (roles.c.updated_at, roles.c.id),
}
_BY_CODE = OrderBy(_SORTS["code"])


class PostgresRoleRepository(RoleRepository):
    """Roles and role assignments of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._gateway = TableGateway(transaction, roles, to_row=to_row, of_row=to_role)
        self._users = user_gateway(transaction)
        self._summaries = TableGateway(
            transaction, roles, to_row=summary_to_row, of_row=to_summary, columns=SUMMARY_COLUMNS
        )

    async def add(self, role: Role) -> None:
        await self._gateway.add(role, conflicts=_conflicts_of(role))

    async def find(self, role_id: RoleId) -> Role | None:
        return await self._gateway.find(roles.c.id == role_id)

    async def lock(self, role_ids: Collection[RoleId]) -> Sequence[Role]:
        locked = await self._gateway.lock(any_of(roles.c.id, role_ids), references=False)
        if gone := set(role_ids) - {role.id for role in locked}:
            raise RoleNotFound(*sorted(gone))
        return sorted(locked, key=lambda role: role.code.key)

    async def save(self, role: Role) -> None:
        if not await self._gateway.save(role, conflicts=_conflicts_of(role)):
            raise RoleNotFound(role.id)

    async def delete(self, role_ids: Collection[RoleId]) -> None:
        await self._gateway.delete(any_of(roles.c.id, role_ids))

    async def page(self, criteria: RoleFilter, page: PageRequest) -> Page[RoleSummary]:
        conditions = []
        if criteria.status is not None:
            conditions.append(roles.c.status == criteria.status)
        if criteria.keyword:
            needle = search_key(criteria.keyword)
            if needle is None:
                return Page([], 0)
            conditions.append(contains([roles.c.code_key, roles.c.name_key], needle))
        sort = page.sort or Sort("code")
        order_by = OrderBy(_SORTS[sort.by], descending=sort.descending)
        return await self._summaries.page(page, *conditions, order_by=order_by)

    async def all(self) -> Sequence[RoleSummary]:
        return await self._summaries.all(order_by=_BY_CODE)

    async def by_codes(self, codes: Collection[RoleCode]) -> Sequence[Role]:
        wanted = any_of(roles.c.code_key, [code.key for code in codes])
        return await self._gateway.all(wanted, order_by=_BY_CODE)

    async def of_users(self, user_ids: Collection[UserId]) -> Mapping[UserId, Sequence[Role]]:
        return await self._of_users(_ROLES_OF, user_ids, to_role)

    async def summaries_of(
        self, user_ids: Collection[UserId]
    ) -> Mapping[UserId, Sequence[RoleSummary]]:
        return await self._of_users(_SUMMARIES_OF, user_ids, to_summary)

    async def _of_users(
        self,
        statement: Select[Any],
        user_ids: Collection[UserId],
        of_row: Callable[[Row[Any]], T],
    ) -> Mapping[UserId, Sequence[T]]:
        found = defaultdict[UserId, list[T]](list)
        for row in await self._transaction.read(statement, user_ids=list(user_ids)):
            found[UserId(row.user_id)].append(of_row(row))
        return dict(found)

    async def amount_of(self, codes: Collection[RoleCode]) -> Amount:
        found = select(*_AMOUNTS).where(any_of(roles.c.code_key, [code.key for code in codes]))
        return await self._greatest(select(*_each(func.sum, found.subquery())).subquery())

    async def largest_amount_with(self, role_id: RoleId) -> Amount:
        # Counted once for each role, not for each user who has it.
        amounts = select(roles.c.id, *_AMOUNTS).cte("amounts").prefix_with("MATERIALIZED")
        this, held = user_roles.alias("this"), user_roles.alias("held")
        of_each = (
            select(*_each(func.sum, amounts))
            .select_from(
                this.join(held, held.c.user_id == this.c.user_id).join(
                    amounts, amounts.c.id == held.c.role_id
                )
            )
            .where(this.c.role_id == role_id)
            .group_by(this.c.user_id)
        )
        return await self._greatest(of_each.subquery())

    async def _greatest(self, amounts: FromClause) -> Amount:
        row = (await self._transaction.read(select(*_each(func.max, amounts)))).one()
        return Amount(
            patterns=int(row.patterns or 0),
            codes=int(row.codes or 0),
            buttons=int(row.buttons or 0),
            routers=int(row.routers or 0),
        )

    async def assign(self, user_id: UserId, role_ids: Collection[RoleId]) -> None:
        # From here on they cannot be deleted; this waits for a delete in progress.
        locked = await self._transaction.write(
            select(roles.c.id)
            .where(any_of(roles.c.id, role_ids))
            .order_by(roles.c.id)
            .with_for_update(read=True, key_share=True)
        )
        if gone := set(role_ids) - set(locked.scalars()):
            raise RoleNotFound(*sorted(gone))
        await self._transaction.write(
            delete(user_roles).where(
                user_roles.c.user_id == user_id, ~any_of(user_roles.c.role_id, role_ids)
            )
        )
        if role_ids:
            await self._transaction.write(
                insert(user_roles).on_conflict_do_nothing(),
                [{"user_id": user_id, "role_id": role_id} for role_id in role_ids],
            )

    async def count_users(self, role_ids: Collection[RoleId]) -> Mapping[RoleId, int]:
        rows = await self._transaction.read(
            select(user_roles.c.role_id, func.count().label("users"))
            .where(any_of(user_roles.c.role_id, role_ids))
            .group_by(user_roles.c.role_id)
        )
        return dict.fromkeys(role_ids, 0) | {RoleId(row.role_id): row.users for row in rows}

    async def users_with(self, role_id: RoleId, page: PageRequest) -> Page[User]:
        return await self._users.page(page, has_role(role_id), order_by=order_of_users(page))

    async def lock_access(self, *, to_change: bool = False) -> None:
        lock = func.pg_advisory_xact_lock if to_change else func.pg_advisory_xact_lock_shared
        await self._transaction.write(select(lock(AdvisoryLock.ACCESS)))

    async def access_of(self, user_id: UserId) -> Access | None:
        rows = (await self._transaction.read(_ACCESS_OF, user_id=user_id)).all()
        if not rows:
            return None
        user = rows[0]
        return Access(
            is_active=user.status == UserStatus.ACTIVE,
            is_admin=user.is_admin,
            must_change_password=user.must_change_password,
            grants=Grants.of(
                (grant for row in rows for grant in stored_grants(row.grants or ())),
                (button for row in rows for button in row.buttons or ()),
                (router for row in rows for router in row.routers or ()),
            ),
        )


# The statements of log-ins and of the guard. SQLAlchemy takes longer to build one than to execute it.
def _of_these_users(*columns: ColumnElement[Any]) -> Select[Any]:
    user_ids = bindparam("user_ids", type_=ARRAY(Uuid))
    return (
        select(user_roles.c.user_id, *columns)
        .join_from(user_roles, roles)
        .where(user_roles.c.user_id == any_(user_ids))
        .order_by(roles.c.code_key)
    )


_ROLES_OF = _of_these_users(*roles.c)
_SUMMARIES_OF = _of_these_users(*SUMMARY_COLUMNS)
_ACCESS_OF = (
    select(
        *(users.c.status, users.c.is_admin, users.c.must_change_password),
        *(roles.c.grants, roles.c.buttons, roles.c.routers),
    )
    .select_from(
        users.outerjoin(
            user_roles.join(
                roles,
                and_(roles.c.id == user_roles.c.role_id, roles.c.status == RoleStatus.ACTIVE),
            ),
            user_roles.c.user_id == users.c.id,
        )
    )
    .where(users.c.id == bindparam("user_id"))
)

_grant = func.unnest(roles.c.grants).column_valued("grant_")
_patterns = select(func.count(_grant)).where(func.strpos(_grant, "*") > 0).scalar_subquery()
_AMOUNTS = (
    _patterns.label("patterns"),
    (func.cardinality(roles.c.grants) - _patterns).label("codes"),
    func.cardinality(roles.c.buttons).label("buttons"),
    func.cardinality(roles.c.routers).label("routers"),
)


def _each(
    aggregate: Callable[[ColumnElement[Any]], ColumnElement[Any]], amounts: FromClause
) -> list[ColumnElement[Any]]:
    return [
        aggregate(amounts.c[name]).label(name)
        for name in ("patterns", "codes", "buttons", "routers")
    ]


def _conflicts_of(role: Role) -> dict[str, PorticoError]:
    return {
        "uq_roles_code_key": RoleCodeTaken(role.code),
        "uq_roles_name_key": RoleNameTaken(role.name),
    }
