"""Due → claimed: due slots are claimed as runs; while the database is away, only those that are safe without it."""

import logging
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.ports.leader_lease import Leadership, NotLeading
from application.ports.run_claims import DueSlots, RunClaims
from application.ports.system import Clock
from application.scheduler.background import (
    RETRY_AFTER,
    BackgroundLoop,
    in_slices,
)
from application.scheduler.gc_policy import GcPolicy
from application.scheduler.lease import Lease
from application.scheduler.outcomes import OutcomeRecorder
from application.scheduler.publishing import ClaimedRun, RunPublisher
from application.scheduler.schedule_queue import ScheduleQueue
from domain.errors import Unavailable
from domain.scheduling.periodic_tasks import ScheduleState
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState, run_id

_log = logging.getLogger(__name__)

_BATCH = 500
"""Slots in one statement, more or less."""
_MAX_PENDING = 2000
"""The maximum of slots that wait for the database and runs that wait for the broker; other slots stay due."""
_FULL_PAUSE = 0.1
"""Seconds until more slots are claimed when there are that many."""
_LONGEST_PAUSE = 5.0
"""Seconds after which the clock is read again: an operator may have set it."""
_ROUNDING = 0.001
"""Seconds to which event loops round: a loop that wakes up before the slot is due wakes up twice."""
_SPARE_TIME = 0.5
"""Non-urgent work is done when nothing is due for this many seconds."""
_SUSPENDED_AFTER = timedelta(seconds=60)
"""After a pause this long the beat was suspended: the machine slept, or the clock was set."""
_MOST_NAMED = 10


@dataclass(kw_only=True, eq=False)
class SlotClaimer(BackgroundLoop):
    """Claims runs for due slots, in the order in which they became due.

    While the database is away and the lease is valid, no other beat can have claimed them: then they are published
    without a claim. Only tasks with `max_running` wait, because the database alone knows how many runs are active.
    """

    claims: RunClaims
    lease: Lease
    queue: ScheduleQueue
    publisher: RunPublisher
    recorder: OutcomeRecorder
    clock: Clock
    gc_policy: GcPolicy
    _unclaimed: deque[DueSlots] = field(default_factory=deque[DueSlots], init=False)
    _one_by_one: bool = field(default=False, init=False)
    _worked_at: datetime | None = field(default=None, init=False)

    async def take_over(self, leadership: Leadership) -> None:
        """Take over all schedule states, and the runs that earlier leaders claimed and may not have published.

        Raise `Unavailable` or `NotLeading`.
        """
        call = self.connection.call
        await self.recorder.flush()
        if reset := await call(self.claims.reset_future_states()):
            _log.warning(
                "slots of %d periodic tasks were handled in the future, by a wrong clock: %s",
                len(reset),
                ", ".join(str(task_id) for task_id in [*reset][:_MOST_NAMED]),
            )
        states = await call(self.claims.schedule_states())
        abandoned = await call(self.claims.claim_abandoned(leadership))
        async with self.queue.changing:
            async for _ in in_slices(self.queue.restore(states)):
                pass
            self._unclaimed = deque(self.queue.unseen_tasks(states))
        self.publisher.clear()
        self.publisher.add(ClaimedRun(run) for run in abandoned)

    async def step(self) -> float | None:
        """Claim what is due; return the seconds until the next slot."""
        now = self.clock.now()
        self._notice_suspension(now)
        leadership = self.lease.leadership
        if leadership is not None:
            if self.lease.holds:
                self._take_due(now)
            if self._unclaimed and self.connection.is_lost:
                self._claim_offline()
            elif self._unclaimed:
                await self._claim(leadership)
        pause = self._seconds_to_wait()
        if pause > _SPARE_TIME and not self.publisher.pending:
            self.queue.compact()
            self.gc_policy.collect()
        return pause

    def _notice_suspension(self, now: datetime) -> None:
        if self._worked_at is not None and now - self._worked_at > _SUSPENDED_AFTER:
            _log.warning(
                "the beat did nothing since %s; what was due meanwhile was missed", self._worked_at
            )
            self.queue.up_since = now
        if self._worked_at is not None and now < self._worked_at:
            self.queue.set_back(now)
        self._worked_at = now

    @property
    def _room(self) -> int:
        waiting = sum(len(due.slots) for due in self._unclaimed)
        return _MAX_PENDING - waiting - self.publisher.pending

    def _take_due(self, now: datetime) -> None:
        if self._room > 0:
            self._unclaimed.extend(self.queue.due(now, limit=min(self._room, _BATCH)))

    def _seconds_to_wait(self) -> float:
        if self.lease.leadership is None:
            return _LONGEST_PAUSE
        if self._unclaimed:
            return RETRY_AFTER if self.connection.is_lost else 0.0
        if not self.lease.holds:
            return RETRY_AFTER  # nothing signals a renewal
        if self.queue.next_due_at is None:
            return _LONGEST_PAUSE
        if self._room <= 0:
            return _FULL_PAUSE
        seconds = (self.queue.next_due_at - self.clock.now()).total_seconds()
        return min(seconds + _ROUNDING, _LONGEST_PAUSE) if seconds > 0 else 0.0

    # --- with the database ---

    async def _claim(self, leadership: Leadership) -> None:
        due_slots = self._first()
        try:
            runs = await self.connection.call(self.claims.claim(leadership, due_slots))
            resumed = await self._states_after(runs, due_slots)
        except NotLeading:
            if self.lease.leadership is leadership:
                self.lease.lose()
        except Unavailable:
            if self.lease.leadership is leadership:
                self._claim_offline()
        except Exception as error:  # noqa: BLE001 - an error of one task does not stop the others
            if self.lease.leadership is leadership:
                self._isolate_failure(due_slots, error)
        else:
            if self.lease.leadership is leadership:
                self._done(due_slots)
                self._return_refused(runs, due_slots)
                self._resume(resumed)
                self.publisher.add(ClaimedRun(run) for run in runs)

    def _first(self) -> list[DueSlots]:
        first: list[DueSlots] = []
        slots = 0
        for due in self._unclaimed:
            if first and (self._one_by_one or slots + len(due.slots) > _BATCH):
                break
            first.append(due)
            slots += len(due.slots)
        return first

    def _done(self, due_slots: Sequence[DueSlots]) -> None:
        for _ in due_slots:
            self._unclaimed.popleft()
        if not self._unclaimed:
            self._one_by_one = False

    async def _states_after(
        self, runs: Iterable[Run], due_slots: Iterable[DueSlots]
    ) -> Mapping[PeriodicTaskId, ScheduleState | None]:
        """Return the tasks that wait when full, with their states if not all of their slots became runs."""
        claimed = {run.id for run in runs}
        waiting = [due for due in due_slots if due.waits_when_full]
        states: dict[PeriodicTaskId, ScheduleState | None] = {due.task_id: None for due in waiting}
        short = {due.task_id for due in waiting if not claimed.issuperset(_run_ids(due))}
        if short:
            states.update(await self.connection.call(self.claims.schedule_states(short)))
        return states

    def _return_refused(self, runs: Iterable[Run], due_slots: Iterable[DueSlots]) -> None:
        """Do not count the slots that the database skipped: their tasks had reached `max_running`."""
        refused = Counter[PeriodicTaskId]()
        for due in due_slots:
            refused[due.task_id] += 0 if due.waits_when_full else len(due.slots)
        refused.subtract(run.task_id for run in runs)
        for task_id, number in refused.items():
            if number > 0:
                self.queue.return_slots(task_id, number)

    def _resume(self, states: Mapping[PeriodicTaskId, ScheduleState | None]) -> None:
        now = self.clock.now()
        for task_id, state in states.items():
            self.queue.resume(task_id, state, now=now)

    def _isolate_failure(self, due_slots: Sequence[DueSlots], error: Exception) -> None:
        """Claim one task at a time to find the one that fails, and skip that one."""
        if len(due_slots) > 1:
            self._one_by_one = True
            return
        (due,) = due_slots
        _log.error("slots of periodic task %s cannot be claimed", due.task_id, exc_info=error)
        self._done(due_slots)
        if due.waits_when_full:
            self._resume({due.task_id: None})
        self.queue.problems[due.task_id] = f"cannot be claimed: {error}"

    # --- without the database ---

    def _claim_offline(self) -> None:
        if self.is_stopping or not self.lease.holds:
            return
        safe = [due for due in self._unclaimed if due.max_running is None]
        self._unclaimed = deque(due for due in self._unclaimed if due.max_running is not None)
        self.publisher.add(claimed_run for due in safe for claimed_run in _claimed_offline(due))


def _run_ids(due: DueSlots) -> list[RunId]:
    return [run_id(due.task_id, slot) for slot in due.slots]


def _claimed_offline(due: DueSlots) -> Iterable[ClaimedRun]:
    for number, slot in enumerate(due.slots, 1):
        run = Run(
            id=run_id(due.task_id, slot),
            task_id=due.task_id,
            scheduled_for=slot,
            state=RunState.CLAIMED,
        )
        is_last = number == len(due.slots)
        yield ClaimedRun(run, handled_until=due.handled_until if is_last else slot)
