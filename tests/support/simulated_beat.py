"""Beats without threads, servers or sleep: stages take one step at a time, and time passes when a test says so."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from adapters.memory.store import MemoryStore
from application.ports.definition_feed import Changes, Defined, Mark, Version
from application.ports.leader_lease import BeatId, BeatReport, Leadership, SchedulerStatus
from application.ports.publisher import BrokerAway, Message, Publisher
from application.ports.run_claims import DueSlots, Published
from application.ports.run_log import Finished
from application.ports.system import Clock
from application.scheduler.engine import Engine
from application.scheduler.schedule_queue import ConfiguredTask
from domain.errors import Unavailable
from domain.scheduling.firing import no_sun
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState
from tests.support.builders import a_uuid
from tests.support.clock import MovableClock
from tests.support.scheduling_stores import BeatStore, MemoryBeatStore

T = TypeVar("T")

LEASE = timedelta(seconds=15)


class SharedStore(MemoryStore):
    """What several beats share, what people do to it, and whether it answers."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.is_away = False
        self.loses_answers = False
        """Whether requests are done but their answers are lost."""
        self.hides_changes = False
        """Whether changes are found by comparing everything only."""
        self.unclaimable: set[PeriodicTaskId] = set()
        """Tasks over which a claim fails, for a reason that was not foreseen."""
        self.asked: list[str] = []

    def define(self, task: PeriodicTask | UnreadableTask) -> None:
        """Commit a definition."""
        self.periodic_tasks[task.id] = replace(task)

    def request(self, task_id: PeriodicTaskId) -> Run:
        """Commit that somebody wants a run."""
        run = Run(
            id=RunId(a_uuid()),
            task_id=task_id,
            scheduled_for=self.clock.now(),
            state=RunState.REQUESTED,
            requested=True,
        )
        self.runs[run.id] = run
        return run

    def finish(self, run_id: RunId) -> None:
        """Commit that a run has succeeded."""
        run = self.runs[run_id]
        self.runs[run_id] = replace(
            run, state=RunState.SUCCEEDED, finished_at=self.clock.now(), started_at=run.published_at
        )

    def slots(self, task_id: PeriodicTaskId, *states: RunState) -> list[datetime]:
        """Return the slots of a task of which there are runs, in order."""
        return sorted(
            run.scheduled_for
            for run in self.runs.values()
            if run.task_id == task_id and (not states or run.state in states)
        )


class ShakyBeatStore(BeatStore):
    """One beat's way to what all share."""

    def __init__(self, shared: SharedStore) -> None:
        self._shared = shared
        self._store = MemoryBeatStore(shared, shared.clock)

    async def load(self) -> Changes:
        return await self._ask("load", self._store.load)

    async def changes(self, since: Mark) -> Changes:
        changes = await self._ask("changes", lambda: self._store.changes(since))
        return replace(changes, defined=(), deleted=()) if self._shared.hides_changes else changes

    async def versions(self) -> Mapping[PeriodicTaskId, Version]:
        return await self._ask("versions", self._store.versions)

    async def read(self, ids: Collection[PeriodicTaskId]) -> Sequence[Defined]:
        return await self._ask("read", lambda: self._store.read(ids))

    async def schedule_states(
        self, ids: Collection[PeriodicTaskId] | None = None
    ) -> Mapping[PeriodicTaskId, ScheduleState]:
        return await self._ask("schedule_states", lambda: self._store.schedule_states(ids))

    async def changed(self) -> None:
        await self._store.changed()

    async def lead(
        self, beat: BeatId, *, lease: timedelta, report: BeatReport
    ) -> Leadership | None:
        return await self._ask("lead", lambda: self._store.lead(beat, lease=lease, report=report))

    async def now(self) -> datetime:
        return await self._ask("now", self._store.now)

    async def report_standby(self, beat: BeatId, report: BeatReport) -> None:
        await self._ask("report_standby", lambda: self._store.report_standby(beat, report))

    async def reset_future_states(self) -> Collection[PeriodicTaskId]:
        return await self._ask("reset_future_states", self._store.reset_future_states)

    async def release(self, leadership: Leadership) -> None:
        await self._ask("release", lambda: self._store.release(leadership))

    async def claim(self, leadership: Leadership, due_slots: Sequence[DueSlots]) -> Sequence[Run]:
        if self._shared.unclaimable.intersection(due.task_id for due in due_slots):
            raise ValueError("what a driver says")
        return await self._ask("claim", lambda: self._store.claim(leadership, due_slots))

    async def claim_requested(self, leadership: Leadership, *, limit: int) -> Sequence[Run]:
        return await self._ask(
            "claim_requested", lambda: self._store.claim_requested(leadership, limit=limit)
        )

    async def claim_abandoned(self, leadership: Leadership) -> Sequence[Run]:
        return await self._ask("claim_abandoned", lambda: self._store.claim_abandoned(leadership))

    async def record_published(self, runs: Sequence[Published]) -> None:
        await self._ask("record_published", lambda: self._store.record_published(runs))

    async def record_failed(self, runs: Sequence[Finished]) -> None:
        await self._ask("record_failed", lambda: self._store.record_failed(runs))

    async def record_published_offline(
        self, due_slots: Sequence[DueSlots], published: Sequence[Published]
    ) -> None:
        await self._ask(
            "record_published_offline",
            lambda: self._store.record_published_offline(due_slots, published),
        )

    async def record_problems(self, problems: Mapping[PeriodicTaskId, str | None]) -> None:
        await self._ask("record_problems", lambda: self._store.record_problems(problems))

    async def recorded_problems(self) -> Mapping[PeriodicTaskId, str]:
        return await self._ask("recorded_problems", self._store.recorded_problems)

    async def status(self) -> SchedulerStatus:
        return await self._ask("status", self._store.status)

    async def _ask(self, what: str, question: Callable[[], Awaitable[T]]) -> T:
        self._shared.asked.append(what)
        if self._shared.is_away:
            raise Unavailable("the database")
        answer = await question()
        if self._shared.loses_answers:
            raise Unavailable("the database")
        return answer


@dataclass(slots=True)
class Broker(Publisher):
    """What was published, by whomever."""

    messages: list[Run] = field(default_factory=list)
    expiries: dict[RunId, datetime | None] = field(default_factory=dict)
    is_away: bool = False
    problem: str = "connection refused"
    before_publishing: Callable[[], object] = lambda: None
    """What happens before a message is taken, or not."""
    attempts: int = 0
    refuses: set[str] = field(default_factory=set)
    """Registered names of tasks whose messages cannot be sent."""

    def publish(
        self, run: Run, task: PeriodicTask, message: Message | None, expires_at: datetime | None
    ) -> None:
        self.attempts += 1
        self.before_publishing()
        if self.is_away:
            raise BrokerAway(self.problem)
        if task.definition.task in self.refuses:
            raise ValueError("no such serializer")
        self.messages.append(run)
        self.expiries[run.id] = expires_at

    def slots(self, task_id: PeriodicTaskId) -> list[datetime]:
        """Return the slots of a task of which there were messages, each as often as there were."""
        return sorted(run.scheduled_for for run in self.messages if run.task_id == task_id)


class ClockOfItsOwn(Clock):
    """The clock of one host."""

    def __init__(self, right: Clock) -> None:
        self._right = right
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return self._right.now() + self.ahead


class InlineThread(Executor):
    """Does what it is given at once, unless it hangs."""

    def __init__(self) -> None:
        self.hangs = False
        self._held_up: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        if self.hangs:
            self._held_up.append(lambda: done.set_result(fn(*args, **kwargs)))
        else:
            done.set_result(fn(*args, **kwargs))
        return done

    def go_on(self) -> None:
        """Hang no more."""
        self.hangs = False
        for work in self._held_up:
            work()


class Beat:
    """A beat whose stages take steps when a test says so."""

    def __init__(
        self, shared: SharedStore, broker: Broker, configured: Sequence[ConfiguredTask] = ()
    ) -> None:
        self.shared = shared
        self.broker = broker
        self.clock = ClockOfItsOwn(shared.clock)
        self.thread = InlineThread()
        self._publishing: asyncio.Task[None] | None = None
        store = ShakyBeatStore(shared)
        self.engine = Engine(
            feed=store,
            leases=store,
            claims=store,
            broker=broker,
            thread=self.thread,
            clock=self.clock,
            monotonic=self.monotonic,
            sun=no_sun,
            beat=BeatId(a_uuid()),
            name="a beat",
            lease_length=LEASE,
            configured=configured,
        )

    def monotonic(self) -> float:
        """Return seconds that no wrong clock moves."""
        return self.shared.clock.now().timestamp()

    async def tick(self) -> None:
        """Let every stage do what there is to do."""
        for _ in range(4):
            engine = self.engine
            for step in (engine.watcher.step, engine.election.step, engine.recorder.flush):
                with suppress(Unavailable):
                    await step()
            await self.claim()
            await self.publish()

    async def claim(self) -> None:
        """Have what is due claimed, unless something is in the way."""
        for _ in range(10):
            if await self.engine.claimer.step():
                return

    async def publish(self) -> None:
        """Have what is claimed published, unless that hangs."""
        if self._publishing is None or self._publishing.done():
            self._publishing = asyncio.create_task(self.engine.publisher.publish_all())
        await asyncio.wait([self._publishing], timeout=0 if self.thread.hangs else None)

    async def status(self) -> SchedulerStatus:
        """Return what operators see."""
        return await MemoryBeatStore(self.shared, self.shared.clock).status()

    async def live(self, seconds: float, *, step: float = 0.5) -> None:
        """Let time pass and work all the while."""
        await live(self, seconds=seconds, step=step)

    async def stop(self) -> None:
        """Stop as on SIGTERM."""
        await self.engine.close()


async def live(*beats: Beat, seconds: float, step: float = 0.5) -> None:
    """Let time pass for several beats, which work all the while."""
    clock = beats[0].shared.clock
    end = clock.now() + timedelta(seconds=seconds)
    while clock.now() < end:
        await clock.pass_time(timedelta(seconds=step))
        for beat in beats:
            await beat.tick()
