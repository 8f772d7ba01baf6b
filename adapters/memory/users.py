"""Users in memory."""

from collections.abc import Callable, Sequence
from datetime import datetime

from adapters.memory.roles import roles_of, sorted_users
from adapters.memory.store import MemoryTable, MemoryTransaction, page_of
from application.paging import Page, PageRequest
from application.ports.users import FoundAccount, UserFilter, UserRepository
from domain.audit_log import AuditEntry, AuditId
from domain.identity import (
    Email,
    EmailTaken,
    User,
    UserId,
    Username,
    UsernameTaken,
    UserNotFound,
    login_name,
)
from domain.roles import Role
from domain.text import search_key


class MemoryUserRepository(UserRepository):
    """Users of one transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self._users: MemoryTable[UserId, User] = transaction.table(User)
        self._users.validate = self._check_unique
        self._entries: MemoryTable[AuditId, AuditEntry] = transaction.table(AuditEntry)

    async def add(self, user: User) -> None:
        self._users.write(user.id, user)

    async def find(self, user_id: UserId) -> User | None:
        return self._users.find(user_id)

    async def lock(self, user_id: UserId) -> User:
        await self._transaction.lock(("user", user_id))
        user = self._users.find(user_id)
        if user is None:
            raise UserNotFound(user_id)
        return user

    async def save(self, user: User) -> None:
        await self.lock(user.id)
        self._users.write(user.id, user)

    async def delete(self, user_id: UserId) -> None:
        await self.lock(user_id)
        self._users.remove(user_id)

    async def find_by_login(self, name: str) -> User | None:
        match login_name(name):
            case Username(key=key):
                return self._first(lambda user: user.username.key == key)
            case Email(key=key):
                return self._first(lambda user: user.email.key == key)
            case None:
                return None

    async def find_account(self, name: str) -> FoundAccount:
        user = await self.find_by_login(name)
        return FoundAccount(user.id if user else None, lambda: user)

    async def record_login(
        self, verified: User, *, rehashed: str | None, at: datetime, entry: AuditEntry
    ) -> Sequence[Role] | None:
        await self._transaction.lock(("user", verified.id))
        user = self._users.find(verified.id)
        if (
            user is None
            or not user.is_active
            or user.password_hash != verified.password_hash
            or user.sessions_ended_at != verified.sessions_ended_at
            or not user.password_logs_in(at=at)
        ):
            return None
        user.last_login_at = at
        user.password_hash = rehashed or user.password_hash
        user.one_time_until = None
        self._users.write(user.id, user)
        self._entries.write(entry.id, entry)
        return roles_of(self._transaction, user.id)

    async def has_active_administrator(self, *, other_than: UserId | None = None) -> bool:
        found = self._first(lambda u: u.is_admin and u.is_active and u.id != other_than)
        return found is not None

    async def page(self, criteria: UserFilter, page: PageRequest) -> Page[User]:
        needle = search_key(criteria.keyword or "")

        def matches(user: User) -> bool:
            keys = user.username.key, user.email.key, user.name.key
            return (
                (criteria.status is None or user.status is criteria.status)
                and (
                    criteria.role is None
                    or any(
                        role.code == criteria.role for role in roles_of(self._transaction, user.id)
                    )
                )
                and needle is not None
                and any(needle in key for key in keys)
            )

        return page_of(sorted_users(self._users.where(matches), page), page)

    def _first(self, condition: Callable[[User], bool]) -> User | None:
        return next(iter(self._users.where(condition)), None)

    def _check_unique(self, user: User) -> None:
        if self._first(lambda o: o.id != user.id and o.username.key == user.username.key):
            raise UsernameTaken(user.username)
        before = self._users.committed(user.id)
        # Users keep a look-alike name from before look-alikes were refused.
        if (before is None or before.username != user.username) and self._first(
            lambda o: o.id != user.id and o.username.skeleton == user.username.skeleton
        ):
            raise UsernameTaken(user.username)
        if self._first(lambda o: o.id != user.id and o.email.key == user.email.key):
            raise EmailTaken(user.email)
