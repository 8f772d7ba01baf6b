"""Beats without threads, servers or sleep: their parts are moved one step at a time, and time when a test says so."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from queue import SimpleQueue
from typing import TypeVar
from uuid import UUID

from application.ports.scheduling import (
    BeatId,
    BeatReport,
    BeatStore,
    Changes,
    Defined,
    Finished,
    Leadership,
    Mark,
    NotLeading,
    Published,
    SchedulerStatus,
    Turn,
    Version,
)
from domain.errors import Unavailable
from domain.scheduling.firing import no_sun
from domain.scheduling.runs import Run, RunId, RunState, run_id
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.tasks import PeriodicTask, Standing, UnreadableTask
from entrypoints.celery.beat.agenda import Agenda, Entry
from entrypoints.celery.beat.configured import Configured
from entrypoints.celery.beat.dispatcher import (
    BrokerAway,
    Dispatched,
    Dispatcher,
    Outside,
    Publisher,
)
from entrypoints.celery.beat.garbage import Garbage
from entrypoints.celery.beat.lease import Lease
from entrypoints.celery.beat.news import News
from entrypoints.celery.beat.office import Office
from entrypoints.celery.beat.reader import Rhythm
from tests.fakes.clock import MovableClock

T = TypeVar("T")

LEASE = timedelta(seconds=15)
_numbers = count(1)


@dataclass(slots=True)
class SharedStore:
    """What several beats share, and whether it answers."""

    clock: MovableClock
    is_away: bool = False
    loses_answers: bool = False
    """Whether what is asked is done, and nobody hears of it."""
    tasks: dict[PeriodicTaskId, Defined] = field(default_factory=dict)
    tombstones: list[tuple[int, PeriodicTaskId]] = field(default_factory=list)
    settled: dict[PeriodicTaskId, Standing] = field(default_factory=dict)
    runs: dict[RunId, tuple[Run, int]] = field(default_factory=dict)
    problems: dict[PeriodicTaskId, str] = field(default_factory=dict)
    holder: BeatId | None = None
    epoch: int = 0
    leads_until: datetime | None = None
    report: BeatReport | None = None
    unclaimable: set[PeriodicTaskId] = field(default_factory=set)
    """Tasks over which a claim fails, for a reason that nobody thought of."""
    asked: list[str] = field(default_factory=list)
    history: int = 0

    def define(self, task: PeriodicTask | UnreadableTask) -> None:
        """Commit a definition."""
        self.history += 1
        self.tasks[task.id] = Defined(task=replace(task), version=Version(self.history))

    def delete(self, task_id: PeriodicTaskId) -> None:
        """Commit that a definition is no more."""
        self.history += 1
        del self.tasks[task_id]
        self.tombstones.append((self.history, task_id))

    def request(self, task_id: PeriodicTaskId) -> Run:
        """Commit that somebody wants a run."""
        run = Run(
            id=RunId(UUID(int=next(_numbers))),
            task_id=task_id,
            scheduled_for=self.clock.now(),
            state=RunState.REQUESTED,
            requested=True,
        )
        self.runs[run.id] = run, 0
        return run

    def slots(self, task_id: PeriodicTaskId, *states: RunState) -> list[datetime]:
        """Return the slots of a task of which there are runs, in order."""
        return sorted(
            run.scheduled_for
            for run, _ in self.runs.values()
            if run.task_id == task_id and (not states or run.state in states)
        )


@dataclass(frozen=True, slots=True)
class StoreOfTests(BeatStore):
    """One beat's way to what all share."""

    shared: SharedStore

    async def load(self) -> Changes:
        self._ask("load")
        shared = self.shared
        return self._answer(
            Changes(defined=[*shared.tasks.values()], deleted=(), mark=Mark(shared.history))
        )

    async def changes(self, since: Mark) -> Changes:
        self._ask("changes")
        shared = self.shared
        return self._answer(
            Changes(
                defined=[each for each in shared.tasks.values() if each.version >= since],
                deleted=[task_id for at, task_id in shared.tombstones if at >= since],
                mark=Mark(shared.history),
            )
        )

    async def versions(self) -> Mapping[PeriodicTaskId, Version]:
        self._ask("versions")
        return self._answer({task_id: each.version for task_id, each in self.shared.tasks.items()})

    async def read(self, ids: Collection[PeriodicTaskId]) -> Sequence[Defined]:
        self._ask("read")
        return self._answer([self.shared.tasks[each] for each in ids if each in self.shared.tasks])

    async def standings(self) -> Mapping[PeriodicTaskId, Standing]:
        self._ask("standings")
        return self._answer(dict(self.shared.settled))

    async def changed(self) -> None:
        await asyncio.Event().wait()

    async def lead(
        self, beat: BeatId, *, lease: timedelta, report: BeatReport
    ) -> Leadership | None:
        self._ask("lead")
        shared, now = self.shared, self.shared.clock.now()
        if shared.holder != beat:
            if shared.leads_until is not None and now < shared.leads_until:
                return self._answer(None)
            shared.holder, shared.epoch = beat, shared.epoch + 1
        shared.leads_until, shared.report = now + lease, report
        return self._answer(Leadership(beat=beat, epoch=shared.epoch))

    async def hand_over(self, leadership: Leadership) -> None:
        self._ask("hand_over")
        if self.shared.holder == leadership.beat:
            self.shared.leads_until = self.shared.holder = None

    async def claim(self, leadership: Leadership, turns: Sequence[Turn]) -> Sequence[Run]:
        self._ask("claim")
        self._fence(leadership)
        if self.shared.unclaimable.intersection(turn.task_id for turn in turns):
            raise ValueError("what a driver says")
        claimed: list[Run] = []
        for turn in turns:
            added = 0
            for slot in turn.slots:
                run, is_new = self._claim(leadership, turn, slot)
                added += is_new
                if run is not None:
                    claimed.append(run)
            self._settle(turn, added)
        return self._answer(claimed)

    async def claim_requested(self, leadership: Leadership, *, most: int) -> Sequence[Run]:
        self._ask("claim_requested")
        self._fence(leadership)
        runs = self.shared.runs
        claimed = [
            replace(run, state=RunState.CLAIMED)
            for run, epoch in runs.values()
            if run.state is RunState.REQUESTED
            or (run.requested and run.state is RunState.CLAIMED and epoch == leadership.epoch)
        ][:most]
        runs |= {run.id: (run, leadership.epoch) for run in claimed}
        return self._answer(claimed)

    async def claim_abandoned(self, leadership: Leadership) -> Sequence[Run]:
        self._ask("claim_abandoned")
        self._fence(leadership)
        runs = self.shared.runs
        found = [run for run, _ in runs.values() if run.state is RunState.CLAIMED]
        runs |= {run.id: (run, leadership.epoch) for run in found}
        return self._answer(found)

    async def note_published(self, runs: Sequence[Published]) -> None:
        self._ask("note_published")
        for each in runs:
            self._publish(each)
        self._answer(None)

    async def note_failed(self, runs: Sequence[Finished]) -> None:
        self._ask("note_failed")
        for each in runs:
            if each.run_id in self.shared.runs:
                run, epoch = self.shared.runs[each.run_id]
                failed = replace(run, state=RunState.FAILED, error=each.error or "")
                self.shared.runs[run.id] = failed, epoch
        self._answer(None)

    async def record(self, turns: Sequence[Turn], published: Sequence[Published]) -> None:
        self._ask("record")
        for turn in turns:
            added = 0
            for slot in turn.slots:
                run = _run(turn, slot)
                if run.id not in self.shared.runs:
                    self.shared.runs[run.id] = run, 0
                    added += 1
            self._settle(turn, added)
        for each in published:
            self._publish(each)
        self._answer(None)

    async def flag(self, problems: Mapping[PeriodicTaskId, str | None]) -> None:
        self._ask("flag")
        for task_id, problem in problems.items():
            if problem is None:
                self.shared.problems.pop(task_id, None)
            else:
                self.shared.problems[task_id] = problem

    async def flagged(self) -> Mapping[PeriodicTaskId, str]:
        self._ask("flagged")
        return dict(self.shared.problems)

    async def status(self) -> SchedulerStatus:
        self._ask("status")
        shared = self.shared
        return SchedulerStatus(
            report=shared.report,
            epoch=shared.epoch,
            leads_until=shared.leads_until,
            invalid=len(shared.problems),
        )

    def _ask(self, what: str) -> None:
        self.shared.asked.append(what)
        if self.shared.is_away:
            raise Unavailable("the database")

    def _answer(self, answer: T) -> T:
        if self.shared.loses_answers:
            raise Unavailable("the database")
        return answer

    def _fence(self, leadership: Leadership) -> None:
        shared = self.shared
        leads = (shared.holder, shared.epoch) == (leadership.beat, leadership.epoch)
        if not leads or shared.leads_until is None or shared.clock.now() >= shared.leads_until:
            raise NotLeading

    def _claim(self, leadership: Leadership, turn: Turn, slot: datetime) -> tuple[Run | None, bool]:
        runs = self.shared.runs
        run = _run(turn, slot)
        if run.id in runs:
            known, epoch = runs[run.id]
            mine = known.state is RunState.CLAIMED and epoch == leadership.epoch
            return (known if mine else None), False
        going_on = [
            each
            for each, _ in runs.values()
            if each.task_id == turn.task_id
            and each.state in {RunState.CLAIMED, RunState.PUBLISHED, RunState.STARTED}
        ]
        if turn.max_running is not None and len(going_on) >= turn.max_running:
            runs[run.id] = replace(run, state=RunState.SKIPPED), leadership.epoch
            return None, False
        runs[run.id] = run, leadership.epoch
        return run, True

    def _settle(self, turn: Turn, added: int) -> None:
        before = self.shared.settled.get(turn.task_id, Standing())
        self.shared.settled[turn.task_id] = Standing(
            settled_until=max(before.settled_until or turn.settled_until, turn.settled_until),
            runs=before.runs + added,
        )

    def _publish(self, published: Published) -> None:
        run, epoch = self.shared.runs[published.run_id]
        if run.state is RunState.CLAIMED:
            run = replace(run, state=RunState.PUBLISHED)
        self.shared.runs[run.id] = replace(run, published_at=published.at), epoch


def _run(turn: Turn, slot: datetime) -> Run:
    return Run(
        id=run_id(turn.task_id, slot),
        task_id=turn.task_id,
        scheduled_for=slot,
        state=RunState.CLAIMED,
    )


@dataclass(slots=True)
class Broker(Publisher):
    """What was published, by whomever."""

    messages: list[Run] = field(default_factory=list)
    expiries: dict[RunId, datetime | None] = field(default_factory=dict)
    is_away: bool = False
    attempts: int = 0
    refuses: set[str] = field(default_factory=set)
    """Registered names of tasks whose messages cannot be sent."""

    def publish(self, entry: Entry, run: Run, expires_at: datetime | None) -> None:
        self.attempts += 1
        if self.is_away:
            raise BrokerAway
        assert isinstance(entry.task, PeriodicTask)
        if entry.task.definition.task in self.refuses:
            raise ValueError("no such serializer")
        self.messages.append(run)
        self.expiries[run.id] = expires_at

    def slots(self, task_id: PeriodicTaskId) -> list[datetime]:
        """Return the slots of a task of which there were messages, each as often as there were."""
        return sorted(run.scheduled_for for run in self.messages if run.task_id == task_id)


class Beat:
    """A beat whose loop and main thread take turns."""

    def __init__(
        self, shared: SharedStore, broker: Broker, configured: Sequence[Configured] = ()
    ) -> None:
        self.shared = shared
        self.broker = broker
        self.clock = shared.clock
        news: SimpleQueue[News] = SimpleQueue()
        lease = Lease(LEASE, self.monotonic)
        self.office = Office(
            StoreOfTests(shared),
            BeatId(UUID(int=next(_numbers))),
            lease,
            Rhythm(),
            monotonic=self.monotonic,
            tell=news.put,
            report=lambda: BeatReport(name="a beat"),
            problems={each.id: each.problem for each in configured if each.problem},
        )
        self.dispatcher = Dispatcher(
            agenda=Agenda(
                up_since=self.clock.now(),
                sun=no_sun,
                configured=configured,
                report=self.office.reader.report,
            ),
            publisher=broker,
            outside=_Directly(self.office),
            lease=lease,
            clock=self.clock,
            monotonic=self.monotonic,
            garbage=Garbage(self.monotonic),
            news=news,
        )

    def monotonic(self) -> float:
        """Return the seconds of the same clock."""
        return self.clock.now().timestamp()

    async def turn(self, *clerks: str) -> None:
        """Let everybody who has something to do do it, until nobody has (or those who are named, once)."""
        office = self.office
        for _ in range(4):
            for name in clerks or ("reader", "keeper", "noter_flush", "claimer"):
                try:
                    if name == "noter_flush":
                        await office.noter.flush()
                    else:
                        await getattr(office, name).step()
                except Unavailable:
                    continue
            if clerks:
                return
            while self.office.claimer.waiting and not self.shared.is_away:
                before = self.office.claimer.waiting
                try:
                    await self.office.claimer.step()
                except Unavailable:
                    break
                if before == self.office.claimer.waiting:
                    break
            self.work()
        self.work()

    def work(self) -> None:
        """Let the main thread do what it can."""
        for _ in range(10):
            self.dispatcher.work()

    async def live(self, seconds: float, *, step: float = 0.5) -> None:
        """Let time pass and work all the while."""
        await live(self, seconds=seconds, step=step)

    async def stop(self) -> None:
        """Stop as on SIGTERM."""
        self.office.claimer.turn_away()
        self.dispatcher.publish_all(within=1)
        await self.office.close(within=1)


async def live(*beats: Beat, seconds: float, step: float = 0.5) -> None:
    """Let time pass for several beats, which work all the while."""
    clock = beats[0].clock
    end = clock.now() + timedelta(seconds=seconds)
    while clock.now() < end:
        await clock.pass_time(timedelta(seconds=step))
        for beat in beats:
            await beat.turn()


@dataclass(frozen=True, slots=True)
class _Directly(Outside):
    office: Office

    @property
    def waiting(self) -> int:
        return self.office.claimer.waiting

    def claim(self, epoch: int, turns: Sequence[Turn]) -> None:
        self.office.claimer.add(epoch, turns)

    def note(self, dispatched: Dispatched) -> None:
        self.office.noter.add(dispatched)
