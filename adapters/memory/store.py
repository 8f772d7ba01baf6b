"""The relational store in memory, and its transactions."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from adapters.system import SystemClock
from application.paging import MOST_COUNTED, Page, PageRequest, Sort
from application.ports.leader_lease import BeatId, BeatReport
from application.ports.system import Clock
from domain.audit_log import AuditEntry, AuditId
from domain.errors import PorticoError
from domain.identity import User, UserId
from domain.permissions import Permission, PermissionId
from domain.roles import Role, RoleId
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.registered_tasks import RegisteredTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class UserRoles(frozenset[RoleId]):
    """The roles of a user, by the id of the user; some of the roles may be deleted."""

    __slots__ = ()


class DeletedPeriodicTask:
    """The id of a deleted periodic task."""


class ReadingProblem(str):
    """Why a beat cannot read a definition, by the id of the periodic task."""

    __slots__ = ()


class MemoryStore:
    """The committed rows, and the locks on them."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.time: Clock = clock or SystemClock()
        self._rows = defaultdict[type, dict[Any, Any]](dict)
        # Other stores in memory and tests read these by name.
        self.users: dict[UserId, User] = self.rows(User)
        self.roles: dict[RoleId, Role] = self.rows(Role)
        self.user_roles: dict[UserId, frozenset[RoleId]] = self.rows(UserRoles)
        self.permissions: dict[PermissionId, Permission] = self.rows(Permission)
        self.outbox: dict[AuditId, AuditEntry] = self.rows(AuditEntry)
        self.periodic_tasks: dict[PeriodicTaskId, PeriodicTask | UnreadableTask] = self.rows(
            PeriodicTask
        )
        self.deleted_periodic_tasks: dict[PeriodicTaskId, bool] = self.rows(DeletedPeriodicTask)
        self.schedule_states: dict[PeriodicTaskId, ScheduleState] = self.rows(ScheduleState)
        self.runs: dict[RunId, Run] = self.rows(Run)
        self.task_offers: dict[str, MemoryOffer] = self.rows(MemoryOffer)
        self.problems: dict[PeriodicTaskId, str] = self.rows(ReadingProblem)
        self.claims: dict[RunId, int] = {}
        """The epoch in which a beat claimed a run."""
        self.lease: MemoryLease | None = None
        self._listeners: list[asyncio.Future[None]] = []
        self._locks = WeakValueDictionary[Hashable, asyncio.Lock]()

    def rows(self, row: type) -> dict[Any, Any]:
        """Return the committed rows of this type by their keys."""
        return self._rows[row]

    def lock(self, what: Hashable) -> asyncio.Lock:
        """Return the lock on `what`: the same object as long as anybody holds or awaits it."""
        return self._locks.setdefault(what, asyncio.Lock())

    async def next_commit(self) -> None:
        """Return as soon as something is committed."""
        listener = asyncio.get_running_loop().create_future()
        self._listeners.append(listener)
        try:
            await listener
        finally:
            self._listeners.remove(listener)

    def notify(self) -> None:
        """Wake all tasks that wait for a commit."""
        for listener in self._listeners:
            if not listener.done():
                listener.set_result(None)


@dataclass(frozen=True, slots=True)
class MemoryLease:
    """The leading beat."""

    beat: BeatId
    epoch: int
    leads_until: datetime
    report: BeatReport


@dataclass(frozen=True, slots=True)
class MemoryOffer:
    """The tasks that a worker knows, and when the offer expires unless the worker renews it."""

    worker: str
    tasks: tuple[RegisteredTask, ...]
    since: datetime
    expires_at: datetime


class MemoryTransaction:
    """The writes and locks of one unit of work. After an error every other call raises it again."""

    def __init__(self, store: MemoryStore) -> None:
        self.time = store.time
        self.failure: PorticoError | None = None
        self._tables: dict[type, MemoryTable[Any, Any]] = {}
        self._store = store
        self._locked: dict[Hashable, asyncio.Lock] = {}

    def table(
        self,
        row: type,
        *,
        cascade: type | None = None,
        owner: Callable[[Any], Hashable] | None = None,
    ) -> "MemoryTable[Any, Any]":
        """Return the table of rows of this type.

        `cascade` is the type of the rows that own these: when an owner is removed, so are its rows. `owner` returns
        the key of the owner; without it, a row and its owner have the same key.
        """
        if row not in self._tables:
            self._tables[row] = MemoryTable(self, self._store.rows(row))
        table = self._tables[row]
        if cascade is not None:
            self.table(cascade).cascades.append((table, owner))
        return table

    async def lock(self, *what: Hashable) -> None:
        """Lock each of these until the end of the transaction."""
        self.raise_failure()
        for each in what:
            if each not in self._locked:
                lock = self._store.lock(each)
                await lock.acquire()
                self._locked[each] = lock

    def is_free(self, what: Hashable) -> bool:
        """Return whether no other transaction has locked this."""
        return what in self._locked or not self._store.lock(what).locked()

    async def wait_for(self, *what: Hashable) -> None:
        """Wait until no other transaction has locked any of these."""
        for each in what:
            if each not in self._locked:
                async with self._store.lock(each):
                    pass

    def commit(self) -> None:
        """Commit the writes and release the locks, or raise and change nothing."""
        self.raise_failure()
        for table in self._tables.values():
            table.check()
        for table in self._tables.values():
            table.publish()
        self._store.notify()
        self.end()

    def end(self) -> None:
        """Forget the writes and release the locks."""
        for table in self._tables.values():
            table.forget()
        while self._locked:
            self._locked.popitem()[1].release()

    def raise_failure(self) -> None:
        """Raise the error of an earlier write."""
        if self.failure is not None:
            raise self.failure


class MemoryTable(Generic[K, V]):
    """The committed rows of one type, overlaid with the writes of one transaction. Hands out copies."""

    def __init__(self, transaction: MemoryTransaction, committed: dict[K, V]) -> None:
        self.validate: Callable[[V], None] = lambda _: None
        """Raises if the row conflicts with another one; called when the row is written, and again at commit."""
        self._transaction = transaction
        self._committed = committed
        self._written: dict[K, V | None] = {}
        self.cascades: list[tuple[MemoryTable[Any, Any], Callable[[Any], Hashable] | None]] = []
        """The tables whose rows are removed with a row of this one, and the function that finds the owner of a row."""

    def find(self, key: K) -> V | None:
        """Return the row if there is one."""
        self._transaction.raise_failure()
        row = self._written.get(key) if key in self._written else self._committed.get(key)
        return None if row is None else copy(row)

    def committed(self, key: K) -> V | None:
        """Return the committed row if there is one."""
        row = self._committed.get(key)
        return None if row is None else copy(row)

    def where(self, condition: Callable[[V], bool] = lambda _: True) -> list[V]:
        """Return the rows that meet the condition."""
        self._transaction.raise_failure()
        visible = (self._committed | self._written).values()
        return [copy(row) for row in visible if row is not None and condition(row)]

    def write(self, key: K, row: V) -> None:
        """Add the row or replace it."""
        self._transaction.raise_failure()
        try:
            self.validate(row)
        except PorticoError as error:
            self._transaction.failure = error
            raise
        self._written[key] = copy(row)

    def remove(self, key: K) -> None:
        """Remove the row if there is one, and the rows of other tables that belong to it."""
        self._transaction.raise_failure()
        self._written[key] = None
        for table, owner in self.cascades:
            table.remove_owned(key, owner)

    def remove_owned(self, by: Hashable, owner: Callable[[V], Hashable] | None) -> None:
        """Remove the rows that belong to the row `by` of another table."""
        for key, row in (self._committed | self._written).items():
            if row is not None and (key if owner is None else owner(row)) == by:
                self.remove(key)

    def check(self) -> None:
        """Raise if a written row conflicts with rows that others have committed meanwhile."""
        for row in self._written.values():
            if row is not None:
                self.validate(row)

    def publish(self) -> None:
        """Commit the writes."""
        for key, row in self._written.items():
            if row is None:
                self._committed.pop(key, None)
            else:
                self._committed[key] = row

    def forget(self) -> None:
        """Undo the writes."""
        self._written.clear()


def sorted_by(
    found: Iterable[V], sort: Sort, keys: Mapping[str, Callable[[V], Any]]
) -> Sequence[V]:
    """Return the rows in order; the key of each field is unique."""
    return sorted(found, key=keys[sort.by], reverse=sort.descending)


def page_of(found: Sequence[V], page: PageRequest) -> Page[V]:
    """Return one page of the found rows."""
    return Page(found[page.offset : page.offset + page.size], total=min(len(found), MOST_COUNTED))
