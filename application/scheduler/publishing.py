"""Claimed → published: a thread gives the messages of claimed runs to the broker, which may be slow or away."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.ports.leader_lease import Leadership
from application.ports.publisher import BrokerAway, Publisher
from application.ports.run_claims import DueSlots, Published
from application.ports.run_log import Finished
from application.ports.system import Clock
from application.scheduler.background import BackgroundLoop
from application.scheduler.health import PublishingHealth
from application.scheduler.lease import Lease
from application.scheduler.outcomes import OutcomeRecorder, Outcomes
from application.scheduler.schedule_queue import ScheduleQueue
from domain.scheduling.periodic_tasks import PeriodicTask
from domain.scheduling.task_runs import Run

_BATCH = 50
"""Messages that the thread publishes before it reports their outcomes."""
_LONGEST_BATCH = 0.5
"""Seconds after which it reports them even if there are fewer."""
_STALLED_AFTER = 10.0
"""Seconds without a sign of life after which the thread hangs. A message takes less, even if it fails."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
"""Seconds until a message is sent again that the broker did not take."""


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that is to be published."""

    run: Run
    handled_until: datetime | None = None
    """The state of its task afterwards, if the database is away and does not know the run."""


@dataclass(kw_only=True, eq=False)
class RunPublisher(BackgroundLoop):
    """Publishes claimed runs in their order, as long as the lease holds, and has their outcomes recorded."""

    broker: Publisher
    thread: Executor
    lease: Lease
    queue: ScheduleQueue
    recorder: OutcomeRecorder
    clock: Clock
    monotonic: Callable[[], float]
    health: PublishingHealth = field(init=False)
    published: int = field(default=0, init=False)
    """How many messages the broker took so far."""
    _pending: deque[ClaimedRun] = field(default_factory=deque[ClaimedRun], init=False)
    _batch: Sequence[ClaimedRun] = field(default=(), init=False)
    """The runs that the thread publishes."""
    _busy_since: float | None = field(default=None, init=False)
    """When the thread gave its last sign of life, while it publishes."""
    _publishing: str = field(default="", init=False)
    """The name of the task whose message it publishes."""
    _pause: float = field(default=0.0, init=False)
    _broker_away_until: float = field(default=0.0, init=False)
    _lag: timedelta = field(default=timedelta(0), init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.health = PublishingHealth(clock=self.clock, monotonic=self.monotonic)

    # --- what any thread may ask ---

    @property
    def pending(self) -> int:
        """The number of runs that are claimed and not published."""
        return len(self._batch) + len(self._pending)

    @property
    def is_busy(self) -> bool:
        """Whether the thread publishes, or hangs."""
        return self._busy_since is not None

    @property
    def stall(self) -> str | None:
        """Return since when the thread hangs, and in what; None if it does not."""
        busy_since, publishing = self._busy_since, self._publishing
        if busy_since is None or self.monotonic() - busy_since <= _STALLED_AFTER:
            return None
        seconds = self.monotonic() - busy_since
        return f"it has hung for {seconds:.0f} s{publishing and f', publishing {publishing}'}"

    @property
    def lag(self) -> timedelta:
        """Return how late the latest runs were published, or will be."""
        first = next(iter([*self._batch, *self._pending]), None)
        if first is None:
            return self._lag
        return max(self._lag, self.clock.now() - first.run.scheduled_for)

    # --- on the event loop ---

    def add(self, claimed: Iterable[ClaimedRun]) -> None:
        """Publish these runs, once each, even if the database has returned them twice."""
        unrecorded = self.recorder.unrecorded
        new = [each for each in claimed if each.run.id not in unrecorded]
        unrecorded.update(each.run.id for each in new)
        self._pending.extend(new)
        self.wake()

    def clear(self) -> None:
        """Forget everything that an earlier leadership has claimed."""
        self._pending.clear()
        self.recorder.unrecorded.clear()

    async def step(self) -> float | None:
        """Publish a batch; return the seconds until the next one."""
        leadership = self.lease.leadership
        if leadership is None or not self._pending:
            return None
        if not self.lease.holds:
            return _FIRST_PAUSE  # nothing signals a renewal
        pause = self._broker_away_until - self.monotonic()
        if pause > 0:
            return pause
        self._batch = [self._pending.popleft() for _ in range(min(_BATCH, len(self._pending)))]
        self._busy_since = self.monotonic()
        publish = asyncio.get_running_loop().run_in_executor(
            self.thread, self._publish, leadership, self._batch
        )
        outcomes, left = await publish
        self._busy_since, self._batch = None, ()
        self.recorder.add(outcomes)
        if self.lease.leadership is leadership:
            self._pending.extendleft(reversed(left))
        return 0

    async def publish_all(self) -> None:
        """Publish all pending runs, unless the thread hangs or the broker is away."""
        while not self.is_busy and await self.step() == 0:
            pass

    # --- in the thread ---

    def _publish(
        self, leadership: Leadership, batch: Sequence[ClaimedRun]
    ) -> tuple[Outcomes, Sequence[ClaimedRun]]:
        """Publish runs of a batch; return their outcomes, and the runs that are left."""
        outcomes = Outcomes()
        give_way_at = self.monotonic() + _LONGEST_BATCH
        for number, claimed_run in enumerate(batch):
            holds = self.lease.holds and self.lease.leadership is leadership
            if not holds or self.monotonic() > give_way_at:
                return outcomes, batch[number:]
            try:
                self._publish_one(claimed_run, outcomes)
            except BrokerAway as error:
                self.health.broker_is_away(error, waiting=self.pending)
                self._pause = min(self._pause * 2 or _FIRST_PAUSE, _LONGEST_PAUSE)
                self._broker_away_until = self.monotonic() + self._pause
                return outcomes, batch[number:]
        return outcomes, ()

    def _publish_one(self, claimed_run: ClaimedRun, outcomes: Outcomes) -> None:
        run = claimed_run.run
        try:
            expires_at = self._send(run)
        except BrokerAway:
            raise
        except Exception as error:  # noqa: BLE001 - one message that cannot be sent stops no other
            self.health.failed(run, error)
            outcomes.failed.append(
                Finished(run_id=run.id, at=self.clock.now(), error=f"was not published: {error}")
            )
            return
        finally:
            self._busy_since, self._publishing = self.monotonic(), ""
        now = self.clock.now()
        self._pause = 0.0
        self._lag = now - run.scheduled_for
        self.health.succeeded()
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
            outcomes.published_offline.append((due, published))

    def _send(self, run: Run) -> datetime | None:
        """Give the message to the broker; return when it expires."""
        entry = self.queue.find(run.task_id)
        if entry is None or not isinstance(entry.task, PeriodicTask):
            raise LookupError("its periodic task is gone, or cannot be read")
        lifetime = entry.task.lifetime(run.scheduled_for, sun=self.queue.sun)
        expires_at = None if lifetime is None else self.clock.now() + lifetime
        self._publishing = entry.task.definition.name
        self.broker.publish(run, entry.task, entry.message, expires_at)
        return expires_at
