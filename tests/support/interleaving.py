"""Guards and writers of several processes, run one step at a time in an order that a seed decides.

Between any two steps of anybody somebody else may be next, an answer may be lost or a question arrive late, time may
pass, a writer may be cancelled or die, and the store of versions may forget. What each request saw is compared with
what was committed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from uuid import UUID

from adapters.memory.access_cache import LocalAccessCache, MemoryAccessCache
from adapters.memory.access_versions import MemoryAccessVersions
from adapters.memory.sessions import MemorySessionStore
from adapters.memory.tokens import MemoryTokens
from adapters.system import Uuid7Generator
from application.ports.access_cache import AccessCache
from application.ports.access_versions import DIRTY_TTL, AccessSnapshot, AccessVersions, Change
from application.ports.unit_of_work import UnitOfWork
from application.settings import SessionSettings
from application.use_cases.access.change import CommitAccessChange
from application.use_cases.access.guard import Guard
from application.use_cases.caller import ClientInfo
from domain.access import Access
from domain.errors import Unavailable
from domain.grants import Grant, Grants
from domain.identity import UserId
from domain.sessions import AccessClaims, Session, TokenId
from tests.support.access_changes import changing
from tests.support.clock import MovableClock
from tests.support.sessions import ABSOLUTE, ADA, GRACE_HOPPER, IDLE, a_session

T = TypeVar("T")

USERS = (ADA, GRACE_HOPPER)
EVERYONE = None
"""Stands for the role that all users have."""

LATEST_COMMIT = timedelta(seconds=45)
"""`UnitOfWork.commit`: how long after the last statement before it a commit may come."""


class Steps:
    """Where everything stands, and what may be next."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.faults = True
        self._gates: list[tuple[asyncio.Future[None], object]] = []
        self._late: set[asyncio.Task[object]] = set()
        self._dead: set[object] = set()
        self._urgencies: dict[object, float] = {}

    async def __call__(self) -> None:
        """Let others go first, however many; for ever, if the process dies here."""
        gate = asyncio.get_running_loop().create_future()
        self._gates.append((gate, asyncio.current_task()))
        await gate

    async def carry(self, act: Callable[[], Awaitable[T]], *, risk: int = 1) -> T:
        """Bring a question to a store and its answer back; either may be lost, and a question may come late."""
        await self()
        weights = (50, risk, risk, risk) if self.faults else (1, 0, 0, 0)
        fault = self.random.choices(("", "lost", "late", "unheard"), weights)[0]
        if fault == "lost":
            raise Unavailable("a store")
        if fault == "late":
            self._late.add(asyncio.create_task(self._later(act)))
            await self()
            raise Unavailable("a store")
        answer = await act()
        await self()
        if fault == "unheard":
            raise Unavailable("a store")
        return answer

    def kill(self, task: object) -> None:
        """Let `task` do nothing any more; what it sent may still arrive."""
        self._dead.add(task)

    async def go_on(self) -> bool:
        """Let one of those that wait take its step; return False if none does."""
        for _ in range(
            4
        ):  # the one that was let go comes to the next gate, be it through `asyncio.shield`
            await asyncio.sleep(0)
        self._gates = [(g, t) for g, t in self._gates if not g.done() and t not in self._dead]
        if not self._gates:
            return False
        # Who goes first stays first for a while, so that others stand still for long (probabilistic
        # concurrency testing, Burckhardt et al. 2010): what goes wrong needs few such turns, in the right order.
        next_ = max(self._gates, key=lambda waiting: self._urgency(waiting[1]))
        self._gates.remove(next_)
        gate, task = next_
        if self.random.random() < 0.15:
            self._urgencies.pop(task)
        gate.set_result(None)
        return True

    def _urgency(self, task: object) -> float:
        return self._urgencies.setdefault(task, self.random.random())

    async def clear_away(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """End what still waits, the dead included."""
        self.faults = False
        self._dead.clear()
        for task in tasks:
            task.cancel()
        while await self.go_on():
            pass
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _later(self, act: Callable[[], Awaitable[object]]) -> object:
        await self()
        with suppress(Unavailable):
            return await act()
        return None


class Database:
    """A number for each user and one for their role, and every state that was ever committed."""

    def __init__(self, steps: Steps, clock: MovableClock) -> None:
        self.steps = steps
        self.clock = clock
        self.tick = 0
        self.reads = 0
        self.committed: dict[UserId | None, int] = {ADA: 0, GRACE_HOPPER: 0, EVERYONE: 0}
        self.history = [(0, dict(self.committed))]

    def passes(self) -> int:
        """Return the number of this moment."""
        self.tick += 1
        return self.tick

    def states_between(self, start: int, end: int) -> list[dict[UserId | None, int]]:
        """Return the states in force at some moment from `start` to `end`."""
        before = [state for at, state in self.history if at <= start][-1]
        return [before] + [state for at, state in self.history if start < at <= end]

    def unit_of_work(self) -> UnitOfWork:
        return cast("UnitOfWork", StepwiseUnitOfWork(self))


@dataclass(slots=True)
class StepwiseUnitOfWork:
    """A transaction on a `Database`, and at the same time its repository of roles."""

    database: Database
    written: dict[UserId | None, int] = field(default_factory=dict)
    last_statement_at: datetime | None = None

    @property
    def roles(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.database.steps()

    async def access_of(self, user_id: UserId) -> Access:
        async def read() -> Access:
            self.database.reads += 1
            return access(self.database.committed[user_id], self.database.committed[EVERYONE])

        return await self.database.steps.carry(read)

    async def write(self, what: UserId | None, number: int) -> None:
        async def write() -> None:
            self.written[what] = number
            self.last_statement_at = self.database.clock.now()

        await self.database.steps.carry(write)

    async def commit(self) -> None:
        async def commit() -> None:
            database = self.database
            assert self.last_statement_at is not None
            if database.clock.now() - self.last_statement_at > LATEST_COMMIT:
                raise Unavailable("the database")
            database.committed |= self.written
            database.history.append((database.passes(), dict(database.committed)))

        await self.database.steps.carry(commit, risk=10)


class ForgetfulVersions(MemoryAccessVersions):
    """Can be thrown back in time, and notices as `adapters.redis.access_versions` does."""

    def snapshot(self) -> tuple[int, dict[UserId, int], dict[UUID, tuple[Change, datetime]]]:
        """Return what is known now."""
        return self._everyones, dict(self._users), dict(self._under_way)

    def forget(
        self, known: tuple[int, dict[UserId, int], dict[UUID, tuple[Change, datetime]]]
    ) -> None:
        """Know only what was known at a snapshot."""
        self._everyones, self._users, self._under_way = known[0], dict(known[1]), dict(known[2])
        self.notice_loss()

    def notice_loss(self) -> None:
        """Move everyone's version, and mark everyone dirty for a while."""
        change = Change(id=UUID(int=next(self._numbers)), everyone=True)
        self._mark(change)
        self._move(change)


class StepwiseVersions(AccessVersions):
    """Each question is a step, and so is each answer."""

    def __init__(self, versions: AccessVersions, steps: Steps) -> None:
        self._versions = versions
        self._steps = steps

    async def fetch(self, user_id: UserId, session_id: Any) -> AccessSnapshot:
        return await self._steps.carry(lambda: self._versions.fetch(user_id, session_id))

    async def fetch_many(self, callers: Any) -> Any:
        return await self._steps.carry(lambda: self._versions.fetch_many(callers))

    async def mark_dirty(self, change: Change) -> None:
        await self._steps.carry(lambda: self._versions.mark_dirty(change))

    async def clear_dirty(self, change: Change) -> None:
        await self._steps.carry(lambda: self._versions.clear_dirty(change))


class StepwiseCache(AccessCache):
    """Each question is a step, and so is each answer."""

    def __init__(self, cache: AccessCache, steps: Steps) -> None:
        self._cache = cache
        self._steps = steps

    async def get(self, user_id: UserId, version: str) -> Access | None:
        return await self._steps.carry(lambda: self._cache.get(user_id, version))

    async def put(self, user_id: UserId, version: str, access: Access) -> None:
        await self._steps.carry(lambda: self._cache.put(user_id, version, access))


@dataclass(frozen=True, slots=True)
class Seen:
    """What one request was allowed by, and when it was under way."""

    user_id: UserId
    start: int
    end: int
    access: Access


class Processes:
    """Two processes with a guard each, writers, and the stores they share."""

    def __init__(
        self,
        seed: int,
        versions: type[ForgetfulVersions] = ForgetfulVersions,
        commit: type[CommitAccessChange] = CommitAccessChange,
    ) -> None:
        self.random = Random(seed)  # noqa: S311 - an order of steps is no secret
        self.steps = Steps(self.random)
        self.clock = MovableClock()
        self.database = Database(self.steps, self.clock)
        self.sessions = MemorySessionStore(self.clock)
        self.versions = versions(self.sessions, self.clock)
        self.tokens = MemoryTokens(SessionSettings(), self.clock)
        self.seen: list[Seen] = []
        stepwise = StepwiseVersions(self.versions, self.steps)
        cache = StepwiseCache(MemoryAccessCache(self.clock, timedelta(minutes=10)), self.steps)
        uow = self.database.unit_of_work
        self.guards = [
            Guard(
                uow=uow,
                tokens=self.tokens,
                store=self.sessions,
                versions=stepwise,
                cache=LocalAccessCache(cache, 10),
            )
            for _ in range(2)
        ]
        self.commit = commit(versions=stepwise, ids=Uuid7Generator())
        self._session_of: dict[UserId, Session] = {}
        self._snapshot = self.versions.snapshot()
        self._numbers = iter(range(1, 1000))

    async def run(self) -> None:
        """Let requests and changes happen to each other, and compare what was seen with what was committed."""
        for user_id in USERS:
            self._session_of[user_id] = a_session(user_id=user_id)
            await self.sessions.open(
                self._session_of[user_id], idle=IDLE, absolute=ABSOLUTE, cap=20
            )
        tasks: list[asyncio.Task[None]] = []
        writers: list[asyncio.Task[None]] = []
        for _ in range(self.random.randint(1, 2)):
            what = self.random.choice([ADA, EVERYONE])
            writers.append(asyncio.create_task(self._write(what)))
        readers = [self._reader() for _ in range(3)]
        tasks = writers + [asyncio.create_task(reader) for reader in readers]
        try:
            while await self.steps.go_on():
                await self._something_else(writers)
            await self._check_that_all_is_remembered_again()
        finally:
            await self.steps.clear_away(tasks)

    async def _something_else(self, writers: list[asyncio.Task[None]]) -> None:
        event = self.random.choices(
            ("", "a while", "a long while", "death", "cancellation", "backup", "loss"),
            (935, 5, 20, 8, 5, 7, 20),
        )[0]
        if event == "a while":
            await self.clock.pass_time(DIRTY_TTL / 3)
        elif event == "a long while":
            await self.clock.pass_time(DIRTY_TTL)
        elif event == "death":
            self.steps.kill(self.random.choice(writers))
        elif event == "cancellation":
            self.random.choice(writers).cancel()
        elif event == "backup":
            self._snapshot = self.versions.snapshot()
        elif event == "loss":
            self.versions.forget(self._snapshot)

    async def _write(self, what: UserId | None) -> None:
        users = () if what is EVERYONE else (what,)
        with suppress(Unavailable):
            async with changing(
                self.database.unit_of_work, self.commit, users, everyone=what is EVERYONE
            ) as uow:
                await cast("StepwiseUnitOfWork", uow).write(what, next(self._numbers))

    async def _reader(self) -> None:
        for _ in range(4):
            await self.steps()
            guard, user_id = self.random.choice(self.guards), self.random.choice([ADA, *USERS])
            with suppress(Unavailable):
                await self.request(guard, user_id)

    async def request(self, guard: Guard, user_id: UserId) -> None:
        """Do what an HTTP request does first."""
        start = self.database.passes()
        caller = await guard(self._token(user_id), ClientInfo(address="192.0.2.1"))
        self.seen.append(Seen(user_id, start, self.database.passes(), caller.access))
        self.check(self.seen[-1])

    def check(self, seen: Seen) -> None:
        """Assert that the request saw what was in force at some moment while it was under way."""
        states = self.database.states_between(seen.start, seen.end)
        right = [access(state[seen.user_id], state[EVERYONE]) for state in states]
        assert seen.access in right, (seen, right)

    async def _check_that_all_is_remembered_again(self) -> None:
        self.steps.faults = False
        await self.clock.pass_time(DIRTY_TTL)
        for guard in self.guards:
            await self._alone(self.request(guard, ADA))
        reads = self.database.reads
        for guard in self.guards:
            await self._alone(self.request(guard, ADA))
        assert self.database.reads == reads, "somebody is not remembered"

    async def _alone(self, request: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(request)
        while await self.steps.go_on():
            pass
        await task

    def _token(self, user_id: UserId) -> str:
        now = self.clock.now()
        return self.tokens.issue_access(
            AccessClaims(
                user_id=user_id,
                session_id=self._session_of[user_id].id,
                token_id=TokenId(UUID(int=0)),
                issued_at=now,
                expires_at=now + timedelta(minutes=5),
                authenticated_at=now,
            )
        )


def access(users: int, roles: int) -> Access:
    """Return the access of a user whose number and whose role's number are these."""
    return Access(
        is_active=True,
        is_admin=False,
        must_change_password=False,
        grants=Grants.of([Grant(f"GET:/user/{users}"), Grant(f"GET:/role/{roles}")]),
    )
