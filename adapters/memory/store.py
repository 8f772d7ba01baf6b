"""What the relational store holds, in memory, and a transaction on it."""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from adapters.system import SystemClock
from application.paging import MOST_COUNTED, Page, PageRequest, Sort
from application.ports.scheduling import BeatId, BeatReport
from application.ports.system import Clock
from domain.access import Role, RoleId
from domain.documents import AuditEntry, AuditId
from domain.errors import PorticoError
from domain.identity import User, UserId
from domain.routes import Permission, PermissionId
from domain.scheduling.runs import Run, RunId
from domain.scheduling.signatures import RegisteredTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.tasks import PeriodicTask, ScheduleState, UnreadableTask

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class MemoryStore:
    """What is committed, and the locks on it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.time: Clock = clock or SystemClock()
        self.users: dict[UserId, User] = {}
        self.roles: dict[RoleId, Role] = {}
        self.user_roles: dict[UserId, frozenset[RoleId]] = {}
        """Role ids per user; may include ids of deleted roles."""
        self.permissions: dict[PermissionId, Permission] = {}
        self.outbox: dict[AuditId, AuditEntry] = {}
        self.periodic_tasks: dict[PeriodicTaskId, PeriodicTask | UnreadableTask] = {}
        self.deleted_periodic_tasks: dict[PeriodicTaskId, bool] = {}
        self.schedule_states: dict[PeriodicTaskId, ScheduleState] = {}
        self.runs: dict[RunId, Run] = {}
        self.task_offers: dict[str, MemoryOffer] = {}
        self.problems: dict[PeriodicTaskId, str] = {}
        """Why a beat cannot read a definition."""
        self.claims: dict[RunId, int] = {}
        """In which epoch a beat claimed a run."""
        self.lease: MemoryLease | None = None
        self._listeners: list[asyncio.Future[None]] = []
        self._locks = WeakValueDictionary[Hashable, asyncio.Lock]()

    def lock(self, what: Hashable) -> asyncio.Lock:
        """Return the lock on `what`, the same one for as long as anybody has or awaits it."""
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
        """Wake everybody who waits for a commit."""
        for listener in self._listeners:
            if not listener.done():
                listener.set_result(None)


@dataclass(frozen=True, slots=True)
class MemoryLease:
    """Which beat leads."""

    beat: BeatId
    epoch: int
    leads_until: datetime
    report: BeatReport


@dataclass(frozen=True, slots=True)
class MemoryOffer:
    """What a worker knows, and until when it lives unless it says so again."""

    worker: str
    tasks: tuple[RegisteredTask, ...]
    since: datetime
    expires_at: datetime


class MemoryTransaction:
    """What one unit of work has written and locked. After an error all there is to do is to leave."""

    def __init__(self, store: MemoryStore) -> None:
        self.users = MemoryTable(self, store.users, copy=replace)
        self.roles = MemoryTable(self, store.roles, copy=replace)
        self.user_roles = MemoryTable(self, store.user_roles, copy=frozenset)
        self.permissions = MemoryTable(self, store.permissions, copy=replace)
        self.outbox = MemoryTable(self, store.outbox, copy=replace)
        self.periodic_tasks = MemoryTable(self, store.periodic_tasks, copy=replace)
        self.deleted_periodic_tasks = MemoryTable(self, store.deleted_periodic_tasks, copy=bool)
        self.schedule_states = MemoryTable(self, store.schedule_states, copy=replace)
        self.problems = MemoryTable(self, store.problems, copy=str)
        self.runs = MemoryTable(self, store.runs, copy=replace)
        self.task_offers = MemoryTable(self, store.task_offers, copy=replace)
        self.time = store.time
        self.failure: PorticoError | None = None
        self._tables: Sequence[MemoryTable[Any, Any]] = (
            self.users,
            self.roles,
            self.user_roles,
            self.permissions,
            self.outbox,
            self.periodic_tasks,
            self.deleted_periodic_tasks,
            self.schedule_states,
            self.problems,
            self.runs,
            self.task_offers,
        )
        self._store = store
        self._locked: dict[Hashable, asyncio.Lock] = {}

    async def lock(self, *what: Hashable) -> None:
        """Exclude everybody else from each of these, until the end."""
        self.raise_failure()
        for each in what:
            if each not in self._locked:
                lock = self._store.lock(each)
                await lock.acquire()
                self._locked[each] = lock

    def is_free(self, what: Hashable) -> bool:
        """Tell whether nobody else has locked this."""
        return what in self._locked or not self._store.lock(what).locked()

    async def wait_for(self, *what: Hashable) -> None:
        """Wait until nobody else has locked one of these."""
        for each in what:
            if each not in self._locked:
                async with self._store.lock(each):
                    pass

    def commit(self) -> None:
        """Show the writes to everybody and let go of the locks, or raise and change nothing."""
        self.raise_failure()
        for table in self._tables:
            table.check()
        for table in self._tables:
            table.publish()
        self._store.notify()
        self.end()

    def end(self) -> None:
        """Forget the writes and let go of the locks."""
        for table in self._tables:
            table.forget()
        while self._locked:
            self._locked.popitem()[1].release()

    def raise_failure(self) -> None:
        """Raise the error that a write met before."""
        if self.failure is not None:
            raise self.failure


class MemoryTable(Generic[K, V]):
    """The committed rows of one kind, and over them what one transaction has written. Hands out copies."""

    def __init__(
        self, transaction: MemoryTransaction, committed: dict[K, V], *, copy: Callable[[V], V]
    ) -> None:
        self.validate: Callable[[V], None] = lambda _: None
        """Raises if the row conflicts with another one; called when the row is written, and again at commit."""
        self._transaction = transaction
        self._committed = committed
        self._written: dict[K, V | None] = {}
        self._copy = copy

    def find(self, key: K) -> V | None:
        """Return the row if there is one."""
        self._transaction.raise_failure()
        row = self._written.get(key) if key in self._written else self._committed.get(key)
        return None if row is None else self._copy(row)

    def committed(self, key: K) -> V | None:
        """Return the row as everybody sees it, if there is one."""
        row = self._committed.get(key)
        return None if row is None else self._copy(row)

    def where(self, condition: Callable[[V], bool] = lambda _: True) -> list[V]:
        """Return the rows of which the condition holds."""
        self._transaction.raise_failure()
        visible = (self._committed | self._written).values()
        return [self._copy(row) for row in visible if row is not None and condition(row)]

    def write(self, key: K, row: V) -> None:
        """Add the row or replace it."""
        self._transaction.raise_failure()
        try:
            self.validate(row)
        except PorticoError as error:
            self._transaction.failure = error
            raise
        self._written[key] = self._copy(row)

    def remove(self, key: K) -> None:
        """Remove the row if there is one."""
        self._transaction.raise_failure()
        self._written[key] = None

    def check(self) -> None:
        """Raise if a written row contradicts what others have committed meanwhile."""
        for row in self._written.values():
            if row is not None:
                self.validate(row)

    def publish(self) -> None:
        """Make the writes what everybody sees."""
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
    """Return what was found in order; the key of each field is unique."""
    return sorted(found, key=keys[sort.by], reverse=sort.descending)


def page_of(found: Sequence[V], page: PageRequest) -> Page[V]:
    """Return one page of everything that was found."""
    return Page(found[page.offset : page.offset + page.size], total=min(len(found), MOST_COUNTED))
