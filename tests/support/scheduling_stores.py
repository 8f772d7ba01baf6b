"""Where the state of the contract suites of scheduling is kept: in this process, or in PostgreSQL."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.memory.scheduling.definition_feed import MemoryDefinitionFeed
from adapters.memory.scheduling.leader_lease import MemoryLeaderLease
from adapters.memory.scheduling.run_claims import MemoryRunClaims
from adapters.memory.scheduling.task_runs import MemoryRunLog
from adapters.memory.store import MemoryStore
from adapters.memory.unit_of_work import MemoryUnitOfWork
from adapters.postgres.scheduling.definition_feed import PostgresDefinitionFeed
from adapters.postgres.scheduling.leader_lease import PostgresLeaderLease
from adapters.postgres.scheduling.run_claims import PostgresRunClaims
from adapters.postgres.scheduling.task_runs import PostgresRunLog
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from adapters.system import SystemClock
from application.ports.definition_feed import DefinitionFeed
from application.ports.leader_lease import LeaderLease
from application.ports.run_claims import RunClaims
from application.ports.run_log import RunLog
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWork
from application.settings import PostgresSettings
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from tests.support.builders import a_task_id
from tests.support.clock import MovableClock

# No field of a crontab reads like this.
BROKEN_SCHEDULE = {"minute": "1,,2"}


class BeatStore(DefinitionFeed, LeaderLease, RunClaims, Protocol):
    """All that one beat needs of its store."""


class MemoryBeatStore(MemoryDefinitionFeed, MemoryLeaderLease, MemoryRunClaims):
    """All of it in memory."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        MemoryDefinitionFeed.__init__(self, store)
        MemoryLeaderLease.__init__(self, store, clock)


class PostgresBeatStore(PostgresDefinitionFeed, PostgresLeaderLease, PostgresRunClaims):
    """All of it in PostgreSQL, over one engine."""


class SchedulingBackend(ABC):
    """The stores of scheduling, which share what they hold, and their time."""

    @abstractmethod
    def uow(self) -> UnitOfWork:
        """Return a unit of work that has not begun."""

    @abstractmethod
    def beat(self) -> BeatStore:
        """Return the store of one more beat."""

    @property
    @abstractmethod
    def run_log(self) -> RunLog:
        """The store of workers."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the time of the store, more or less."""

    @abstractmethod
    async def pass_time(self, elapsed: timedelta) -> None:
        """Let `elapsed` pass, as far as leases and runs are concerned."""

    @abstractmethod
    async def write_unreadable(self, name: str) -> PeriodicTaskId:
        """Write a definition past all rules, as somebody may by hand: a crontab with `BROKEN_SCHEDULE`."""

    @abstractmethod
    async def write_schedule_state(
        self, task_id: PeriodicTaskId, schedule_state: ScheduleState
    ) -> None:
        """Write where a task stands, past all rules."""

    # --- in units of work of their own ---

    async def define(self, *tasks: PeriodicTask) -> None:
        """Commit new definitions."""
        async with self.uow() as work:
            for task in tasks:
                await work.periodic_tasks.add(task)
            await work.commit()

    async def change(self, task: PeriodicTask | UnreadableTask) -> None:
        """Commit a changed definition."""
        async with self.uow() as work:
            await work.periodic_tasks.lock(task.id)
            await work.periodic_tasks.save(task)
            await work.commit()

    async def delete(self, task_id: PeriodicTaskId) -> None:
        """Commit that a definition is no more."""
        async with self.uow() as work:
            await work.periodic_tasks.lock(task_id)
            await work.periodic_tasks.delete(task_id)
            await work.commit()

    async def task(self, task_id: PeriodicTaskId) -> PeriodicTask | UnreadableTask:
        """Return a definition as it is committed."""
        async with self.uow() as work:
            found = await work.periodic_tasks.find(task_id)
        assert found is not None
        return found.task

    async def schedule_state(self, task_id: PeriodicTaskId) -> ScheduleState:
        """Return where a task stands, defined or not."""
        schedule_states: Mapping[
            PeriodicTaskId, ScheduleState
        ] = await self.beat().schedule_states()
        return schedule_states.get(task_id, ScheduleState())


class MemorySchedulingBackend(SchedulingBackend):
    """One dictionary of each kind."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self._clock = MovableClock()

    def uow(self) -> UnitOfWork:
        return MemoryUnitOfWork(self._store)

    def beat(self) -> BeatStore:
        return MemoryBeatStore(self._store, self._clock)

    @property
    def run_log(self) -> RunLog:
        return MemoryRunLog(self._store)

    def now(self) -> datetime:
        return self._clock.now()

    async def pass_time(self, elapsed: timedelta) -> None:
        await self._clock.pass_time(elapsed)

    async def write_unreadable(self, name: str) -> PeriodicTaskId:
        task_id, now = a_task_id(), self.now()
        self._store.periodic_tasks[task_id] = UnreadableTask(
            id=task_id,
            enabled_at=now,
            created_at=now,
            updated_at=now,
            name=name,
            stored={"task": "reports.send", "kind": "crontab", "schedule": BROKEN_SCHEDULE},
            reason="schedule.minute is not a field of a crontab",
        )
        self._store.notify()
        return task_id

    async def write_schedule_state(
        self, task_id: PeriodicTaskId, schedule_state: ScheduleState
    ) -> None:
        self._store.schedule_states[task_id] = schedule_state


class PostgresSchedulingBackend(SchedulingBackend):
    """A database. Its clock cannot be moved, so what it compares with the clock is."""

    def __init__(self, engine: AsyncEngine, settings: PostgresSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._beats: list[PostgresBeatStore] = []
        self._run_log = PostgresRunLog(engine)
        self._clock = SystemClock()

    def uow(self) -> UnitOfWork:
        return PostgresUnitOfWork(self._engine)

    def beat(self) -> BeatStore:
        self._beats.append(PostgresBeatStore(self._engine, self._settings))
        return self._beats[-1]

    async def close(self) -> None:
        """Let no beat hear any more."""
        for beat in self._beats:
            await beat.aclose()

    @property
    def run_log(self) -> RunLog:
        return self._run_log

    def now(self) -> datetime:
        return self._clock.now()

    async def pass_time(self, elapsed: timedelta) -> None:
        async with self._engine.connect() as connection:
            for statement in (
                "UPDATE beat_lease SET leads_until = leads_until - CAST(:elapsed AS interval)",
                "UPDATE task_runs SET deadline = deadline - CAST(:elapsed AS interval)",
            ):
                await connection.execute(text(statement), {"elapsed": elapsed})

    async def write_unreadable(self, name: str) -> PeriodicTaskId:
        async with self._engine.connect() as connection:
            written = await connection.execute(
                text(
                    "INSERT INTO periodic_tasks (name, task, kind, schedule)"
                    """ VALUES (:name, 'reports.send', 'crontab', '{"minute": "1,,2"}') RETURNING id"""
                ),
                {"name": name},
            )
            return PeriodicTaskId(written.scalar_one())

    async def write_schedule_state(
        self, task_id: PeriodicTaskId, schedule_state: ScheduleState
    ) -> None:
        async with self._engine.connect() as connection:
            await connection.execute(
                text("INSERT INTO schedule_states VALUES (:id, :handled_until, :runs)"),
                {
                    "id": task_id,
                    "handled_until": schedule_state.handled_until,
                    "runs": schedule_state.runs,
                },
            )
