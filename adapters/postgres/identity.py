"""`UserRepository` in the table `users`."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, func, insert, select, update

from adapters.postgres.tables import AdvisoryLock, is_active_administrator, users
from adapters.postgres.transaction import Transaction
from application.ports.identity import UserRepository
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


class PostgresUserRepository(UserRepository):
    """Users, seen through one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, user: User) -> None:
        await self._transaction.write(
            insert(users).values(to_row(user)), conflicts=_conflicts_of(user)
        )

    async def find(self, user_id: UserId) -> User | None:
        return await self._find(users.c.id == user_id)

    async def lock(self, user_id: UserId) -> User:
        # NO KEY: rows that merely refer to the user may be inserted meanwhile.
        statement = select(users).where(users.c.id == user_id).with_for_update(key_share=True)
        row = (await self._transaction.write(statement)).one_or_none()
        if row is None:
            raise UserNotFound(user_id)
        return to_user(row)

    async def save(self, user: User) -> None:
        result = await self._transaction.write(
            update(users).where(users.c.id == user.id).values(to_row(user)),
            conflicts=_conflicts_of(user),
        )
        if result.rowcount == 0:
            raise UserNotFound(user.id)

    async def find_by_login(self, name: str) -> User | None:
        match login_name(name):
            case Username(key=key):
                return await self._find(users.c.username_key == key)
            case Email(key=key):
                return await self._find(users.c.email_key == key)
            case None:
                return None

    async def record_login(
        self, user_id: UserId, *, verified: str, rehashed: str | None, at: datetime
    ) -> bool:
        result = await self._transaction.write(
            update(users)
            .where(
                users.c.id == user_id,
                users.c.password_hash == verified,
                users.c.status == UserStatus.ACTIVE,
            )
            .values(last_login_at=at, password_hash=rehashed or verified)
        )
        return result.rowcount == 1

    async def has_active_administrator(self) -> bool:
        statement = select(exists().where(is_active_administrator))
        return bool((await self._transaction.read(statement)).scalar_one())

    async def serialise_administrators(self) -> None:
        await self._transaction.write(
            select(func.pg_advisory_xact_lock(AdvisoryLock.ADMINISTRATORS))
        )

    async def _find(self, condition: ColumnElement[bool]) -> User | None:
        row = (await self._transaction.read(select(users).where(condition))).one_or_none()
        return None if row is None else to_user(row)


def to_row(user: User) -> dict[str, Any]:
    """Return the columns that hold `user`."""
    return {
        "id": user.id,
        "username": user.username.value,
        "username_key": user.username.key,
        "email": user.email.value,
        "email_key": user.email.key,
        "name": user.name.value,
        "password_hash": user.password_hash,
        "status": user.status.value,
        "is_admin": user.is_admin,
        "must_change_password": user.must_change_password,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "password_changed_at": user.password_changed_at,
        "last_login_at": user.last_login_at,
    }


def to_user(row: Row[Any]) -> User:
    """Return the user that a row of `users` holds."""
    return User(
        id=UserId(row.id),
        username=Username(row.username),
        email=Email(row.email),
        name=PersonName(row.name),
        password_hash=row.password_hash,
        status=UserStatus(row.status),
        is_admin=row.is_admin,
        must_change_password=row.must_change_password,
        created_at=row.created_at,
        updated_at=row.updated_at,
        password_changed_at=row.password_changed_at,
        last_login_at=row.last_login_at,
    )


def _conflicts_of(user: User) -> dict[str, PorticoError]:
    return {
        "uq_users_username_key": UsernameTaken(user.username),
        "uq_users_email_key": EmailTaken(user.email),
    }
