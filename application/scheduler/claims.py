"""Claims due slots as runs; while the store is away, only what is safe without it."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from application.ports.leader_lease import NotLeading
from application.ports.run_claims import DueSlots, RunClaims
from application.scheduler.background import RETRY_AFTER, BackgroundLoop, StoreConnection
from application.scheduler.lease import Lease
from application.scheduler.updates import ClaimedRun, RunsClaimed
from domain.errors import Unavailable
from domain.scheduling.periodic_tasks import ScheduleState
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState, run_id

_log = logging.getLogger(__name__)

_MOST = 1000
"""Slots in one statement, more or less."""


class SlotClaimer(BackgroundLoop):
    """Claims runs for due slots, in the order in which they became due.

    While the store is away and the lease is valid, no other beat can have claimed them: then they are published without
    a claim. Only tasks with `max_running` wait, because the store alone knows how many runs are active.
    """

    def __init__(
        self,
        store: RunClaims,
        connection: StoreConnection,
        lease: Lease,
        *,
        send: Callable[[RunsClaimed], None],
        leadership_lost: Callable[[], None],
        report: Callable[[PeriodicTaskId, str], None],
    ) -> None:
        super().__init__(connection)
        self._store = store
        self._lease = lease
        self._send = send
        self._leadership_lost = leadership_lost
        self._report = report
        self._one_by_one = False
        self._due_slots: deque[DueSlots] = deque()
        self.waiting = 0
        """The number of slots to claim. Written here only, and read by any thread."""
        self.unrecorded: set[RunId] = set()
        """Runs that were claimed and are not recorded as published."""

    def add(self, epoch: int, due_slots: Sequence[DueSlots]) -> None:
        """Queue slots that became due under this leadership."""
        leadership = self._lease.leadership
        if leadership is not None and leadership.epoch == epoch:
            self._due_slots.extend(due_slots)
            self._count()
            self.wake()

    def clear(self) -> None:
        """Forget everything: the next leader claims it."""
        self._due_slots.clear()
        self.unrecorded.clear()
        self._count()

    async def step(self) -> float | None:
        """Claim what is due, or what is safe while the store is away."""
        leadership = self._lease.leadership
        if leadership is None or not self._due_slots:
            return None
        if self._connection.is_lost:
            self._claim_offline()
            return RETRY_AFTER if self._due_slots else None
        due_slots = self._first()
        try:
            runs = await self._connection.call(self._store.claim(leadership, due_slots))
            resumed = await self._states_after(runs, due_slots)
        except NotLeading:
            self._leadership_lost()
            return None
        except Unavailable:
            self._claim_offline()
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one task, the others go on
            self._isolate_failure(due_slots, error)
            return 0
        if self._lease.leadership == leadership:
            self._done(due_slots)
            self.deliver(runs, due_slots, resumed)
        return 0 if self._due_slots else None

    def deliver(
        self,
        runs: Sequence[Run],
        due_slots: Sequence[DueSlots] = (),
        resumed: Mapping[PeriodicTaskId, ScheduleState | None] = MappingProxyType({}),
    ) -> None:
        """Send runs to the main thread to be published, once each."""
        new = [run for run in runs if run.id not in self.unrecorded]
        self.unrecorded.update(run.id for run in new)
        asked = Counter[PeriodicTaskId]({due.task_id: 0 for due in due_slots})
        for due in due_slots:
            asked[due.task_id] += 0 if due.waits_when_full else len(due.slots)
        asked.subtract(run.task_id for run in runs if run.task_id in asked)
        refused = {task_id: number for task_id, number in asked.items() if number > 0}
        if new or refused or resumed:
            self._send(RunsClaimed([ClaimedRun(run) for run in new], refused, resumed))

    async def _states_after(
        self, runs: Sequence[Run], due_slots: Sequence[DueSlots]
    ) -> Mapping[PeriodicTaskId, ScheduleState | None]:
        """Return the states of tasks that wait when full, if not all of their slots became runs."""
        claimed = {run.id for run in runs}
        resumed: dict[PeriodicTaskId, ScheduleState | None] = {
            due.task_id: None for due in due_slots if due.waits_when_full
        }
        short = {
            due.task_id
            for due in due_slots
            if due.waits_when_full
            and not claimed.issuperset(run_id(due.task_id, slot) for slot in due.slots)
        }
        if short:
            resumed.update(await self._connection.call(self._store.schedule_states(short)))
        return resumed

    def _first(self) -> list[DueSlots]:
        first: list[DueSlots] = []
        slots = 0
        for due in self._due_slots:
            if first and (self._one_by_one or slots + len(due.slots) > _MOST):
                break
            first.append(due)
            slots += len(due.slots)
        return first

    def _done(self, due_slots: Sequence[DueSlots]) -> None:
        for _ in due_slots:
            self._due_slots.popleft()
        self._count()
        if not self._due_slots:
            self._one_by_one = False

    def _isolate_failure(self, due_slots: Sequence[DueSlots], error: Exception) -> None:
        """Claim one task at a time to find the one that fails, and skip that one."""
        if len(due_slots) > 1:
            self._one_by_one = True
            return
        (due,) = due_slots
        _log.error("slots of periodic task %s cannot be claimed", due.task_id, exc_info=error)
        self._done(due_slots)
        if due.waits_when_full:
            self._send(RunsClaimed([], resumed={due.task_id: None}))
        self._report(due.task_id, f"cannot be claimed: {error}")

    def _claim_offline(self) -> None:
        if self.is_stopping or not self._lease.holds:
            return
        claimed = [
            ClaimedRun(_run(due, number), due.handled_until if number == len(due.slots) else slot)
            for due in self._due_slots
            if due.max_running is None
            for number, slot in enumerate(due.slots, 1)
        ]
        self._due_slots = deque(due for due in self._due_slots if due.max_running is not None)
        self._count()
        if claimed:
            self.unrecorded.update(claimed_run.run.id for claimed_run in claimed)
            self._send(RunsClaimed(claimed))

    def _count(self) -> None:
        self.waiting = sum(len(due.slots) for due in self._due_slots)


def _run(due: DueSlots, number: int) -> Run:
    slot = due.slots[number - 1]
    return Run(
        id=run_id(due.task_id, slot),
        task_id=due.task_id,
        scheduled_for=slot,
        state=RunState.CLAIMED,
    )
