"""Claiming slots; and while the store is away, what may run all the same."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from application.ports.scheduling import BeatStore, DueSlots, NotLeading
from domain.errors import Unavailable
from domain.scheduling.runs import Run, RunId, RunState, run_id
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.tasks import ScheduleState
from entrypoints.celery.beat.clerk import RETRY_AFTER, Clerk, Contact
from entrypoints.celery.beat.lease import Lease
from entrypoints.celery.beat.news import Grant, Granted

_log = logging.getLogger(__name__)

_MOST = 1000
"""Slots in one statement, more or less."""


class Claimer(Clerk):
    """Turns become runs that are granted to this beat, in the order in which they came due.

    While the store is away and the lease surely holds, nobody else can have claimed them: then they are granted
    without asking. Only tasks with `max_running` wait, because the store alone knows what is going on.
    """

    def __init__(
        self,
        store: BeatStore,
        contact: Contact,
        lease: Lease,
        *,
        tell: Callable[[Granted], None],
        deposed: Callable[[], None],
        report: Callable[[PeriodicTaskId, str], None],
    ) -> None:
        super().__init__(contact)
        self._store = store
        self._lease = lease
        self._tell = tell
        self._deposed = deposed
        self._report = report
        self._one_by_one = False
        self._due_slots: deque[DueSlots] = deque()
        self.waiting = 0
        """How many slots are to be claimed. Written here only, and read by any thread."""
        self.unnoted: set[RunId] = set()
        """Runs that were granted and are not noted as published."""

    def add(self, epoch: int, due_slots: Sequence[DueSlots]) -> None:
        """Take on turns that were due under that leadership."""
        leadership = self._lease.leadership
        if leadership is not None and leadership.epoch == epoch:
            self._due_slots.extend(due_slots)
            self._count()
            self.wake()

    def turn_away(self) -> None:
        """Forget everything: it is the next leader's business."""
        self._due_slots.clear()
        self.unnoted.clear()
        self._count()

    async def step(self) -> float | None:
        leadership = self._lease.leadership
        if leadership is None or not self._due_slots:
            return None
        if self._contact.is_lost:
            self._grant_without_asking()
            return RETRY_AFTER if self._due_slots else None
        due_slots = self._first()
        try:
            runs = await self._contact.ask(self._store.claim(leadership, due_slots))
            answered = await self._answer(runs, due_slots)
        except NotLeading:
            self._deposed()
            return None
        except Unavailable:
            self._grant_without_asking()
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one task, the others go on
            self._look_closer(due_slots, error)
            return 0
        if self._lease.leadership == leadership:
            self._done(due_slots)
            self.grant(runs, due_slots, answered)
        return 0 if self._due_slots else None

    def grant(
        self,
        runs: Sequence[Run],
        due_slots: Sequence[DueSlots] = (),
        answered: Mapping[PeriodicTaskId, ScheduleState | None] = MappingProxyType({}),
    ) -> None:
        """Have runs published, once each."""
        new = [run for run in runs if run.id not in self.unnoted]
        self.unnoted.update(run.id for run in new)
        asked = Counter[PeriodicTaskId]({due.task_id: 0 for due in due_slots})
        for due in due_slots:
            asked[due.task_id] += 0 if due.waits_when_full else len(due.slots)
        asked.subtract(run.task_id for run in runs if run.task_id in asked)
        refused = {task_id: number for task_id, number in asked.items() if number > 0}
        if new or refused or answered:
            self._tell(Granted([Grant(run) for run in new], refused, answered))

    async def _answer(
        self, runs: Sequence[Run], due_slots: Sequence[DueSlots]
    ) -> Mapping[PeriodicTaskId, ScheduleState | None]:
        """Return where tasks stand whose slots run in turn, if not all of their slots have come back as runs."""
        granted = {run.id for run in runs}
        answered: dict[PeriodicTaskId, ScheduleState | None] = {
            due.task_id: None for due in due_slots if due.waits_when_full
        }
        short = {
            due.task_id
            for due in due_slots
            if due.waits_when_full
            and not granted.issuperset(run_id(due.task_id, slot) for slot in due.slots)
        }
        if short:
            answered.update(await self._contact.ask(self._store.schedule_states(short)))
        return answered

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

    def _look_closer(self, due_slots: Sequence[DueSlots], error: Exception) -> None:
        """Find out which of the turns it is that cannot be claimed, and give that one up."""
        if len(due_slots) > 1:
            self._one_by_one = True
            return
        (due,) = due_slots
        _log.error("a turn of periodic task %s cannot be claimed", due.task_id, exc_info=error)
        self._done(due_slots)
        if due.waits_when_full:
            self._tell(Granted([], answered={due.task_id: None}))
        self._report(due.task_id, f"cannot be claimed: {error}")

    def _grant_without_asking(self) -> None:
        if self.is_stopping or not self._lease.holds:
            return
        grants = [
            Grant(_run(due, number), due.handled_until if number == len(due.slots) else slot)
            for due in self._due_slots
            if due.max_running is None
            for number, slot in enumerate(due.slots, 1)
        ]
        self._due_slots = deque(due for due in self._due_slots if due.max_running is not None)
        self._count()
        if grants:
            self.unnoted.update(grant.run.id for grant in grants)
            self._tell(Granted(grants))

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
