"""Users in memory, and the units of work on them."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from application.ports.identity import UserRepository
from application.ports.unit_of_work import UnitOfWork
from domain.errors import Conflict
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


class MemoryUsers:
    """The committed users, and the locks on them."""

    def __init__(self) -> None:
        self.committed: dict[UserId, User] = {}
        self._locks = WeakValueDictionary[Hashable, asyncio.Lock]()

    def lock(self, what: Hashable) -> asyncio.Lock:
        """Return the lock on `what`, the same one for as long as anybody has or awaits it."""
        return self._locks.setdefault(what, asyncio.Lock())


class MemoryUserRepository(UserRepository):
    """The committed users, and over them what one unit of work has written."""

    def __init__(self, store: MemoryUsers) -> None:
        self._store = store
        self._written: dict[UserId, User] = {}
        self._held: dict[Hashable, asyncio.Lock] = {}
        self._failure: Conflict | None = None

    async def add(self, user: User) -> None:
        self._write(user)

    async def find(self, user_id: UserId) -> User | None:
        return self._first(lambda user: user.id == user_id)

    async def lock(self, user_id: UserId) -> User:
        await self._lock(user_id)
        user = await self.find(user_id)
        if user is None:
            raise UserNotFound(user_id)
        return user

    async def save(self, user: User) -> None:
        await self.lock(user.id)
        self._write(user)

    async def find_by_login(self, name: str) -> User | None:
        match login_name(name):
            case Username(key=key):
                return self._first(lambda user: user.username.key == key)
            case Email(key=key):
                return self._first(lambda user: user.email.key == key)
            case None:
                return None

    async def record_login(
        self, user_id: UserId, *, verified: str, rehashed: str | None, at: datetime
    ) -> bool:
        await self._lock(user_id)
        user = await self.find(user_id)
        if user is None or not user.is_active or user.password_hash != verified:
            return False
        user.last_login_at = at
        user.password_hash = rehashed or verified
        self._write(user)
        return True

    async def has_active_administrator(self) -> bool:
        return self._first(lambda user: user.is_admin and user.is_active) is not None

    async def serialise_administrators(self) -> None:
        await self._lock("administrators")

    def commit(self) -> None:
        """Show the writes to everybody and let go of the locks, or raise and change nothing."""
        self._raise_failure()
        for user in self._written.values():
            self._refuse_taken(user)
        self._store.committed.update(self._written)
        self.end()

    def end(self) -> None:
        """Forget the writes and let go of the locks."""
        self._written.clear()
        while self._held:
            self._held.popitem()[1].release()

    async def _lock(self, what: Hashable) -> None:
        self._raise_failure()
        if what not in self._held:
            lock = self._store.lock(what)
            await lock.acquire()
            self._held[what] = lock

    def _write(self, user: User) -> None:
        try:
            self._refuse_taken(user)
        except Conflict as error:
            self._failure = error
            raise
        self._written[user.id] = replace(user)

    def _refuse_taken(self, user: User) -> None:
        if self._first(
            lambda other: other.id != user.id and other.username.key == user.username.key
        ):
            raise UsernameTaken(user.username)
        if self._first(lambda other: other.id != user.id and other.email.key == user.email.key):
            raise EmailTaken(user.email)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _first(self, condition: Callable[[User], bool]) -> User | None:
        self._raise_failure()
        visible = self._store.committed | self._written
        return next((replace(user) for user in visible.values() if condition(user)), None)


class MemoryUnitOfWork(UnitOfWork):
    """A transaction on `MemoryUsers`."""

    users: MemoryUserRepository

    def __init__(self, users: MemoryUsers) -> None:
        self._store = users

    async def __aenter__(self) -> Self:
        self.users = MemoryUserRepository(self._store)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.users.end()

    async def commit(self) -> None:
        self.users.commit()
