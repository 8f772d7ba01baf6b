"""`UserRepository` in the table `users`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Row,
    Uuid,
    bindparam,
    case,
    exists,
    false,
    func,
    insert,
    literal,
    literal_column,
    not_,
    or_,
    select,
    update,
)

from adapters.postgres.outbox import audit_outbox
from adapters.postgres.outbox import to_row as to_outbox_row
from adapters.postgres.role_rows import to_role
from adapters.postgres.table_gateway import OrderBy, TableGateway
from adapters.postgres.transaction import Transaction
from adapters.postgres.user_search import UserSearch
from adapters.postgres.user_tables import is_active_administrator, roles, user_roles, users
from application.paging import Page, PageRequest, Sort
from application.ports.users import FoundAccount, UserFilter, UserRepository
from domain.audit_log import AuditEntry
from domain.errors import PorticoError
from domain.identity import (
    Email,
    EmailTaken,
    PersonName,
    User,
    UserId,
    Username,
    UsernameTaken,
    UserNotFound,
    UserStatus,
    login_name,
)
from domain.roles import Role, RoleId
from domain.text import search_key


class PostgresUserRepository(UserRepository):
    """Users of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._gateway = user_gateway(transaction)

    async def add(self, user: User) -> None:
        await self._gateway.add(user, conflicts=_conflicts_of(user))

    async def find(self, user_id: UserId) -> User | None:
        return await self._find(users.c.id, user_id)

    async def lock(self, user_id: UserId) -> User:
        for user in await self._gateway.lock(users.c.id == user_id):
            return user
        raise UserNotFound(user_id)

    async def save(self, user: User) -> None:
        row = to_row(user)
        # Users keep a look-alike name from before look-alikes were refused.
        row["username_skeleton"] = case(
            (users.c.username == row["username"], users.c.username_skeleton),
            else_=row["username_skeleton"],
        )
        statement = update(users).where(users.c.id == user.id).values(row)
        result = await self._transaction.write(statement, conflicts=_conflicts_of(user))
        if not result.rowcount:
            raise UserNotFound(user.id)

    async def delete(self, user_id: UserId) -> None:
        if not await self._gateway.delete(users.c.id == user_id):
            raise UserNotFound(user_id)

    async def find_by_login(self, name: str) -> User | None:
        column, key = _login_of(name)
        return await self._find(column, key) if key else None

    async def _find(self, column: Column[Any], key: object) -> User | None:
        row = (await self._transaction.read(_USER_BY[column], key=key)).one_or_none()
        return None if row is None else to_user(row)

    async def find_account(self, name: str) -> FoundAccount:
        column, key = _login_of(name)
        row = (await self._transaction.read(_ACCOUNT_BY[column], key=key)).one()
        if row.id is None:
            return FoundAccount(None, lambda: None)
        return FoundAccount(UserId(row.id), lambda: to_user(row))

    async def record_login(
        self, verified: User, *, rehashed: str | None, at: datetime, entry: AuditEntry
    ) -> Sequence[Role] | None:
        result = await self._transaction.write(
            _RECORD_LOGIN,
            [
                {
                    "user_id": verified.id,
                    "verified_hash": verified.password_hash,
                    "ended_at": verified.sessions_ended_at,
                    "login_at": at,
                    "next_hash": rehashed or verified.password_hash,
                    **{f"entry_{name}": value for name, value in to_outbox_row(entry).items()},
                }
            ],
        )
        rows = result.all()
        return [to_role(row) for row in rows if row.id is not None] if rows else None

    async def has_active_administrator(self, *, other_than: UserId | None = None) -> bool:
        found = exists().where(is_active_administrator)
        if other_than is not None:
            found = found.where(users.c.id != other_than)
        return bool((await self._transaction.read(select(found))).scalar_one())

    async def page(self, criteria: UserFilter, page: PageRequest) -> Page[User]:
        conditions: list[ColumnElement[bool]] = []
        if criteria.status is not None:
            # A literal: with a parameter the planner could not use the index on the disabled.
            status = literal(criteria.status.value, literal_execute=True)
            conditions.append(users.c.status == status)
        if criteria.role is not None:
            code = roles.c.code_key == criteria.role.key
            role_id = (await self._transaction.read(select(roles.c.id).where(code))).scalar()
            if role_id is None:
                return Page([], 0)
            conditions.append(has_role(RoleId(role_id)))
        if not criteria.keyword:
            return await self._gateway.page(page, *conditions, order_by=order_of_users(page))
        needle = search_key(criteria.keyword)
        if needle is None:
            return Page([], 0)
        search = UserSearch(
            self._transaction, self._gateway, needle, conditions, order_by=order_of_users(page)
        )
        return await search.page(page)


def user_gateway(transaction: Transaction) -> TableGateway[User]:
    """Return the users as records."""
    return TableGateway(transaction, users, to_row=to_row, of_row=to_user)


_BY_USERNAME = Sort("username")
# Each has an index.
_SORTS: Mapping[str, Sequence[Column[Any]]] = {
    "username": (users.c.username_key,),
    "email": (users.c.email_key,),
    "name": (users.c.name_key, users.c.id),
    "created_at": (users.c.created_at, users.c.id),
}


def order_of_users(page: PageRequest) -> OrderBy:
    """Return the order of a page of users."""
    sort = page.sort or _BY_USERNAME
    return OrderBy(_SORTS[sort.by], descending=sort.descending)


def has_role(role_id: RoleId) -> ColumnElement[bool]:
    """Return the condition that a user has a role."""
    # A literal: some roles have three users, others have all, and each needs its own plan.
    this_one = literal(role_id, Uuid, literal_execute=True)
    return users.c.id.in_(select(user_roles.c.user_id).where(user_roles.c.role_id == this_one))


def to_row(user: User) -> dict[str, Any]:
    """Return the columns that hold `user`."""
    return {
        "id": user.id,
        "username": user.username.value,
        "username_key": user.username.key,
        "username_skeleton": user.username.skeleton,
        "email": user.email.value,
        "email_key": user.email.key,
        "name": user.name.value,
        "name_key": user.name.key,
        "password_hash": user.password_hash,
        "status": user.status.value,
        "is_admin": user.is_admin,
        "must_change_password": user.must_change_password,
        "one_time_until": user.one_time_until,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "password_changed_at": user.password_changed_at,
        "sessions_ended_at": user.sessions_ended_at,
        "last_login_at": user.last_login_at,
    }


def to_user(row: Row[Any]) -> User:
    """Return the user that a row of `users` holds."""
    return User(
        id=UserId(row.id),
        username=Username(row.username, is_new=False),
        email=Email(row.email, is_new=False),
        name=PersonName(row.name),
        password_hash=row.password_hash,
        status=UserStatus(row.status),
        is_admin=row.is_admin,
        must_change_password=row.must_change_password,
        one_time_until=row.one_time_until,
        created_at=row.created_at,
        updated_at=row.updated_at,
        password_changed_at=row.password_changed_at,
        sessions_ended_at=row.sessions_ended_at,
        last_login_at=row.last_login_at,
    )


def _login_of(name: str) -> tuple[Column[Any], str]:
    """Return the column that holds this name, and its key there; no user has an empty key."""
    match login_name(name):
        case Username(key=key):
            return users.c.username_key, key
        case Email(key=key):
            return users.c.email_key, key
        case None:
            return users.c.username_key, ""


# The statements of each log-in and refresh. SQLAlchemy takes longer to build one than to execute it.
_KEY: BindParameter[Any] = bindparam("key")
_USER_BY = {
    column: select(*users.c).where(column == _KEY)
    for column in (users.c.id, users.c.username_key, users.c.email_key)
}


def _or_filler(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column with a value for unknown names too, if it has one for every user."""
    if column.nullable or column is users.c.id:
        return column
    filler: Mapping[type, ColumnElement[Any]] = {DateTime: func.now(), Boolean: false()}
    value = filler.get(type(column.type), literal_column("'unknown'"))
    return func.coalesce(column, value).label(column.name)


_one_row = select(literal_column("1")).subquery()
# Always one row of values, and nothing is made of them yet: every name takes the same time.
_ACCOUNT_BY = {
    column: select(*map(_or_filler, users.c)).select_from(_one_row.outerjoin(users, column == _KEY))
    for column in (users.c.username_key, users.c.email_key)
}
_recorded = (
    update(users)
    .where(
        users.c.id == bindparam("user_id"),
        users.c.status == UserStatus.ACTIVE,
        users.c.password_hash == bindparam("verified_hash"),
        users.c.sessions_ended_at.is_not_distinct_from(bindparam("ended_at")),
        or_(not_(users.c.must_change_password), users.c.one_time_until > bindparam("login_at")),
    )
    .values(
        last_login_at=bindparam("login_at"),
        password_hash=bindparam("next_hash"),
        one_time_until=None,
    )
    .returning(users.c.id)
    .cte("recorded")
)
_entry = (
    insert(audit_outbox)
    .from_select(
        audit_outbox.c.keys(),
        select(*(bindparam(f"entry_{c.name}", type_=c.type) for c in audit_outbox.c)).select_from(
            _recorded
        ),
    )
    .cte("entry")
)
# No row if the log-in is not recorded; one for each role, or one without a role.
_RECORD_LOGIN = (
    select(*roles.c)
    .select_from(
        _recorded.outerjoin(
            user_roles.join(roles, roles.c.id == user_roles.c.role_id),
            user_roles.c.user_id == _recorded.c.id,
        )
    )
    .order_by(roles.c.code_key)
    .add_cte(_entry)
)


def _conflicts_of(user: User) -> dict[str, PorticoError]:
    return {
        "uq_users_username_key": UsernameTaken(user.username),
        "uq_users_username_skeleton": UsernameTaken(user.username),
        "uq_users_email_key": EmailTaken(user.email),
    }
