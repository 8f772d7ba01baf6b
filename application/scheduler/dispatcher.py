"""The main thread: between two waits it reads updates, takes due slots from the queue, and publishes."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Protocol

from application.ports.leader_lease import BeatReport
from application.ports.run_claims import DueSlots, Published
from application.ports.run_log import Finished
from application.ports.system import Clock
from application.scheduler.gc_policy import GcPolicy
from application.scheduler.health import PublishingHealth
from application.scheduler.lease import Lease
from application.scheduler.schedule_queue import Entry, ScheduleQueue
from application.scheduler.updates import (
    Changed,
    ClaimedRun,
    LeadershipGained,
    LeadershipLost,
    Loaded,
    RunsClaimed,
    Update,
)
from domain.scheduling.periodic_tasks import PeriodicTask
from domain.scheduling.task_runs import Run
from domain.scheduling.zones import zone_rules_version

_log = logging.getLogger(__name__)

SLICE = 0.01
"""Seconds after which updates and publishing give way to due slots."""
MANY_CHANGES = 1000
MOST_SLOTS = 500
"""Slots that are claimed in one statement, more or less."""
MAX_PENDING = 2000
"""The maximum of slots that wait for the store and runs that wait for the broker; other slots stay due."""
SPARE_TIME = 0.5
"""Non-urgent work is done when nothing is due for this many seconds."""
STALLED_AFTER = 10.0
"""Seconds without a sign of life after which the main thread hangs. A message takes less, even if it fails."""
SUSPENDED_AFTER = timedelta(seconds=60)
"""After a pause this long the beat was suspended: the machine slept, or the clock was set."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds until a message is sent again that the broker did not take."""


class BrokerAway(Exception):
    """The broker did not take a message; it may have arrived all the same."""


class Publisher(Protocol):
    """Sends the messages of runs. Raises `BrokerAway`, or whatever keeps this one message from ever being sent."""

    def publish(self, entry: Entry, run: Run, expires_at: datetime | None) -> None:
        """Give the message of a run to the broker, the same at every attempt."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Outcomes of runs, to be stored."""

    published: list[Published] = field(default_factory=list[Published])
    unknown: list[tuple[DueSlots, Published]] = field(
        default_factory=list[tuple[DueSlots, Published]]
    )
    """Published while the store was away and could not be asked to claim them."""
    failed: list[Finished] = field(default_factory=list[Finished])

    def __bool__(self) -> bool:
        return bool(self.published or self.unknown or self.failed)


class LoopBridge(Protocol):
    """Work that the dispatcher gives to the event loop. No call waits."""

    @property
    def waiting(self) -> int:
        """How many slots wait for the store."""
        ...

    def claim(self, epoch: int, due_slots: Sequence[DueSlots]) -> None:
        """Have slots claimed; the runs come back as `RunsClaimed`."""
        ...

    def record(self, outcomes: Outcomes) -> None:
        """Have outcomes recorded."""
        ...


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Everything that must be on time."""

    queue: ScheduleQueue
    publisher: Publisher
    bridge: LoopBridge
    lease: Lease
    clock: Clock
    monotonic: Callable[[], float]
    gc_policy: GcPolicy
    updates: "SimpleQueue[Update]" = field(default_factory=SimpleQueue)
    lag: timedelta = timedelta(0)
    """How late the latest runs were published."""
    published: int = 0
    """How many messages the broker took so far."""
    is_loaded: bool = False
    _epoch: int | None = None
    _pending: deque[ClaimedRun] = field(default_factory=deque[ClaimedRun])
    _reading: Iterator[None] | None = None
    _worked_at: datetime | None = None
    _pause: float = 0.0
    _broker_away_until: float = 0.0
    _alive_at: float = 0.0
    _doing: str = ""
    """What the main thread is doing."""
    health: PublishingHealth = field(init=False)

    def __post_init__(self) -> None:
        self.health = PublishingHealth(clock=self.clock, monotonic=self.monotonic)
        self._alive_at = self.monotonic()

    @property
    def leads(self) -> bool:
        """Whether this beat leads and has all schedule states."""
        return self._epoch is not None

    @property
    def pending(self) -> int:
        """The number of runs that are claimed and not published."""
        return len(self._pending)

    def report(self, name: str) -> BeatReport:
        """Return the report; any thread may call this, and learns whether the main thread hangs."""
        now, first = self.clock.now(), next(iter([*self._pending]), None)
        return BeatReport(
            name=name,
            problem=self._stall(),
            publishing=self.health.problem,
            next_slot=self.queue.next_due_at,
            lag=self.lag if first is None else max(self.lag, now - first.run.scheduled_for),
            tasks=len(self.queue),
            unpublished=self.pending,
            time_zones=zone_rules_version(),
        )

    def wait(self, longest: float) -> None:
        """Return when there is an update, when something is due, or after `longest` seconds."""
        self._alive_at = self.monotonic()
        timeout = min(longest, self._seconds_to_wait())
        if timeout <= 0:
            return
        try:
            self._reading = self._read(self.updates.get(timeout=timeout))
        except Empty:
            return

    def work(self) -> None:
        """Do what can be done now, for a slice of time."""
        self._alive_at = self.monotonic()
        now = self.clock.now()
        self._notice_suspension(now)
        give_way_at = self.monotonic() + SLICE
        self._read_updates(give_way_at)
        if self.leads and self.lease.holds:
            self._claim_what_is_due(now)
            self.publish(give_way_at=give_way_at + SLICE)
        if self._seconds_to_wait() > SPARE_TIME and self.updates.empty():
            self.queue.compact()
            self.gc_policy.collect()

    def publish(self, *, give_way_at: float) -> None:
        """Publish pending runs until then, at least one."""
        outcomes = Outcomes()
        while self._pending and self.lease.holds and self.monotonic() >= self._broker_away_until:
            if not self._publish_first(outcomes) or self.monotonic() >= give_way_at:
                break
        if outcomes:
            self.bridge.record(outcomes)

    def publish_all(self, *, within: float) -> None:
        """Publish all claimed runs, within so many seconds."""
        give_up_at = self.monotonic() + within
        self._read_updates(give_up_at)
        self.publish(give_way_at=give_up_at)

    # --- updates ---

    def _read_updates(self, give_way_at: float) -> None:
        while True:
            if self._reading is None:
                try:
                    self._reading = self._read(self.updates.get_nowait())
                except Empty:
                    return
            for _ in self._reading:
                if self.monotonic() >= give_way_at:
                    return
            self._reading = None

    def _read(self, updates: Update) -> Iterator[None]:
        match updates:
            case Loaded(tasks):
                for task in tasks:
                    self.queue.define(task)
                    yield
                self.is_loaded = True
                self.gc_policy.freeze()
            case Changed():
                yield from self._change(updates)
            case LeadershipGained(leadership, schedule_states):
                yield from self.queue.restore(schedule_states)
                self._epoch = leadership.epoch
                if due_slots := self.queue.unseen_tasks(schedule_states):
                    self.bridge.claim(leadership.epoch, due_slots)
            case LeadershipLost():
                self._epoch = None
                self._pending.clear()
            case RunsClaimed():
                self._deliver(updates)
        yield

    def _change(self, changed: Changed) -> Iterator[None]:
        now = self.clock.now()
        for task in changed.tasks:
            self.queue.define(task, ready_since=now)
            yield
        for task_id in changed.deleted:
            self.queue.forget(task_id)
            yield
        if len(changed.tasks) >= MANY_CHANGES:
            self.gc_policy.freeze()

    def _deliver(self, update: RunsClaimed) -> None:
        self._pending.extend(update.claimed)
        for task_id, runs in update.refused.items():
            self.queue.return_slots(task_id, runs)
        now = self.clock.now()
        for task_id, schedule_state in update.resumed.items():
            self.queue.resume(task_id, schedule_state, now=now)

    # --- due ---

    def _claim_what_is_due(self, now: datetime) -> None:
        room = MAX_PENDING - self.bridge.waiting - len(self._pending)
        if room > 0 and self._epoch is not None:
            due_slots = self.queue.due(now, most=min(room, MOST_SLOTS))
            if due_slots:
                self.bridge.claim(self._epoch, due_slots)

    def _notice_suspension(self, now: datetime) -> None:
        if self._worked_at is not None and now - self._worked_at > SUSPENDED_AFTER:
            _log.warning(
                "the beat did nothing since %s; what was due meanwhile was missed", self._worked_at
            )
            self.queue.up_since = now
        if self._worked_at is not None and now < self._worked_at:
            self.queue.set_back(now)
        self._worked_at = now

    def _stall(self) -> str | None:
        seconds = self.monotonic() - self._alive_at
        if seconds <= STALLED_AFTER:
            return None
        return f"it has hung for {seconds:.0f} s{f', {self._doing}' if self._doing else ''}"

    def _seconds_to_wait(self) -> float:
        if self._reading is not None:
            return 0.0
        if not self.leads:
            return float("inf")
        if not self.lease.holds:
            return FIRST_PAUSE  # nothing signals a renewal
        waits: list[float] = []
        if self._pending:
            waits.append(self._broker_away_until - self.monotonic())
        due_at = self.queue.next_due_at
        if due_at is not None:
            seconds = (due_at - self.clock.now()).total_seconds()
            full = self.bridge.waiting + len(self._pending) >= MAX_PENDING
            # An update or the broker makes room.
            waits.append(max(seconds, FIRST_PAUSE) if full else seconds)
        return min(waits, default=float("inf"))

    # --- publishing ---

    def _publish_first(self, outcomes: Outcomes) -> bool:
        """Publish the first pending run; return False if the broker is away."""
        claimed_run = self._pending[0]
        run = claimed_run.run
        entry = self.queue.find(run.task_id)
        expires_at: datetime | None = None
        try:
            if entry is None or not isinstance(entry.task, PeriodicTask):
                raise LookupError("its periodic task is gone, or cannot be read")  # noqa: TRY301
            lifetime = entry.task.lifetime(run.scheduled_for, sun=self.queue.sun)
            expires_at = None if lifetime is None else self.clock.now() + lifetime
            self._alive_at = self.monotonic()
            self._doing = f"publishing {entry.task.definition.name}"
            self.publisher.publish(entry, run, expires_at)
        except BrokerAway as error:
            self._wait_for_broker(error)
            return False
        except Exception as error:  # noqa: BLE001 - one message that cannot be sent stops no other
            self.health.failed(run, error)
            self._pending.popleft()
            outcomes.failed.append(
                Finished(run_id=run.id, at=self.clock.now(), error=f"was not published: {error}")
            )
            return True
        finally:
            self._doing = ""
            self._alive_at = self.monotonic()
        self._pending.popleft()
        now = self.clock.now()
        self._pause = 0.0
        self.health.succeeded()
        self.lag = now - run.scheduled_for
        self.published += 1
        published = Published(run_id=run.id, at=now, deadline=expires_at)
        if claimed_run.handled_until is None:
            outcomes.published.append(published)
        else:
            due = DueSlots(
                task_id=run.task_id,
                slots=(run.scheduled_for,),
                handled_until=claimed_run.handled_until,
            )
            outcomes.unknown.append((due, published))
        return True

    def _wait_for_broker(self, error: BrokerAway) -> None:
        self.health.broker_is_away(error, waiting=len(self._pending))
        self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
        self._broker_away_until = self.monotonic() + self._pause
