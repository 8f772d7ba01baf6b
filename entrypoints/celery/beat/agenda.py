"""What is due, and when next: every periodic task where it stands, and a heap of the instants at which one is due."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from itertools import count

from application.ports.scheduling import DueSlots
from domain.scheduling.firing import Sun
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.tasks import PeriodicTask, ScheduleState, UnreadableTask
from entrypoints.celery.beat.configured import Configured, Message

_log = logging.getLogger(__name__)

_FEW = 1000
"""So many superseded items of the heap are not worth a thought."""
_MANY = 8
"""So many times larger than need be the heap gets at most."""

FIRST_PAUSE = timedelta(seconds=0.25)
LONGEST_PAUSE = timedelta(seconds=2)
"""Until slots that run in turn are asked for again, if there was no room for them."""

_NO_STATE = ScheduleState()

ReportProblem = Callable[[PeriodicTaskId, str], None]


@dataclass(slots=True)
class Entry:
    """A task as the beat knows it."""

    task: PeriodicTask | UnreadableTask
    state: ScheduleState
    ready_since: datetime | None
    """Since when the beat knows when the task is due; None is since it came up."""
    message: Message | None = None
    """What to publish instead of what the definition says, for a task of the configuration."""
    due_at: datetime | None = None
    """When its next slot comes to run; None if none will."""
    generation: int = 0
    """That of the item of the heap that is in force."""
    is_asked: bool = False
    """Whether its slots run in turn and some are being claimed: the next ones come after the answer."""
    pause: timedelta = timedelta(0)
    """How long to wait until slots that found no room are asked for again."""
    not_before: datetime | None = None
    """The end of that pause."""

    def begin_anew(self) -> None:
        """Forget what was asked."""
        self.is_asked, self.pause, self.not_before = False, timedelta(0), None


@dataclass(slots=True)
class Agenda:
    """Every task and its next instant. A change of one costs what that one costs, however many there are.

    Tasks that are paused, over or unreadable are not in the heap, and neither is a stored task whose name the
    configuration takes.
    """

    up_since: datetime
    """Slots from here on were not missed: a beat stood ready."""
    sun: Sun
    configured: Iterable[Configured] = ()
    report: ReportProblem = lambda _task_id, _problem: None
    _entries: dict[PeriodicTaskId, Entry] = field(default_factory=dict)
    _heap: list[tuple[datetime, int, PeriodicTaskId]] = field(default_factory=list)
    _generations: Iterator[int] = field(default_factory=lambda: count(1))
    _taken_names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        configured = [*self.configured]
        self._taken_names = frozenset(each.name for each in configured)
        for each in configured:
            if each.task is not None:
                entry = Entry(each.task, self._unseen(), None, each.message)
                self._entries[each.id] = entry
                self._enter(entry)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def next_due_at(self) -> datetime | None:
        """When something is due, or when something was that has changed since; None if there is nothing."""
        first = next(iter(self._heap), None)  # other threads ask too, while the last item may go
        return None if first is None else first[0]

    def find(self, task_id: PeriodicTaskId) -> Entry | None:
        """Return the entry of a task if there is one."""
        return self._entries.get(task_id)

    def define(
        self, task: PeriodicTask | UnreadableTask, *, ready_since: datetime | None = None
    ) -> None:
        """Enter a stored task, or replace its definition: it goes on from where it stands.

        If that changes when it is due, slots before `ready_since` (None: before the beat came up) are missed ones.
        """
        entry = self._entries.get(task.id)
        if entry is None:
            entry = self._entries[task.id] = Entry(task, _NO_STATE, ready_since)
        elif entry.message is None:
            if _timing(entry.task) != _timing(task):
                entry.ready_since = ready_since
            if entry.task.reset_at != task.reset_at:
                entry.state = _NO_STATE
                entry.begin_anew()
            entry.task = task
        self._enter(entry)

    def forget(self, task_id: PeriodicTaskId) -> None:
        """Drop a stored task that is no more."""
        entry = self._entries.get(task_id)
        if entry is not None and entry.message is None:
            del self._entries[task_id]

    def settle(self, schedule_states: Mapping[PeriodicTaskId, ScheduleState]) -> Iterator[None]:
        """Take over where everything stands, one task a step."""
        for task_id, entry in [*self._entries.items()]:
            state = schedule_states.get(task_id) or (
                _NO_STATE if entry.message is None else self._unseen()
            )
            if entry.state != state or entry.is_asked:
                entry.state = state
                entry.begin_anew()
                self._enter(entry)
            yield

    def first_sights(
        self, schedule_states: Mapping[PeriodicTaskId, ScheduleState]
    ) -> list[DueSlots]:
        """Return turns without slots for the configured tasks that nobody has seen before: they count from now on."""
        return [
            DueSlots(task_id=task_id, slots=(), handled_until=self.up_since)
            for task_id, entry in self._entries.items()
            if entry.message is not None and task_id not in schedule_states
        ]

    def due(self, now: datetime, *, most: int) -> list[DueSlots]:
        """Return what is due at `now`, of so many tasks that it comes to `most` slots, and settle it."""
        due_slots: list[DueSlots] = []
        slots = 0
        heap, entries = self._heap, self._entries
        while slots < most and heap and heap[0][0] <= now:
            _, generation, task_id = heappop(heap)
            entry = entries.get(task_id)
            if entry is not None and entry.generation == generation:
                due = self._take(entry, now)
                if due is not None:
                    due_slots.append(due)
                    slots += len(due.slots)
        return due_slots

    def give_back(self, task_id: PeriodicTaskId, runs: int) -> None:
        """Note that so many runs of a turn were not granted, so that they do not count."""
        entry = self._entries.get(task_id)
        if entry is not None:
            state = entry.state
            entry.state = ScheduleState(
                handled_until=state.handled_until, runs=max(0, state.runs - runs)
            )
            self._enter(entry)

    def answer(
        self, task_id: PeriodicTaskId, state: ScheduleState | None, *, now: datetime
    ) -> None:
        """Take over where a task stands whose slots run in turn (None: where it was to stand).

        If slots are left over, too many runs are going on. Nobody tells when one ends, so that is tried again, soon at
        first.
        """
        entry = self._entries.get(task_id)
        if entry is None or not entry.is_asked:
            return
        pause = min(2 * entry.pause or FIRST_PAUSE, LONGEST_PAUSE)
        wanted = entry.state.handled_until
        entry.begin_anew()
        if state is not None:
            if state.handled_until and wanted and state.handled_until < wanted:
                entry.pause, entry.not_before = pause, now + pause
            entry.state = state
        self._enter(entry)

    def set_back(self, now: datetime) -> None:
        """Take on that the clock was set back: nobody stood ready, and nobody missed anything, after now."""
        self.up_since = min(self.up_since, now)
        for entry in self._entries.values():
            if entry.ready_since is not None and entry.ready_since > now:
                entry.ready_since = now
            if entry.not_before is not None and entry.not_before > now + LONGEST_PAUSE:
                entry.not_before = None
                self._enter(entry)

    def tidy(self) -> None:
        """Drop what is superseded, if it is much. That takes its time: the best one is when nothing is due."""
        if len(self._heap) > 2 * len(self._entries) + _FEW:
            self._heap[:] = [
                (entry.due_at, entry.generation, task_id)
                for task_id, entry in self._entries.items()
                if entry.due_at is not None
            ]
            heapify(self._heap)

    def _unseen(self) -> ScheduleState:
        # The slots of a configured task begin with the beat that sees it first, not with the epoch.
        return ScheduleState(handled_until=self.up_since)

    def _take(self, entry: Entry, now: datetime) -> DueSlots | None:
        task, state = entry.task, entry.state
        if isinstance(task, UnreadableTask):
            return None
        up_since = max(self.up_since, entry.ready_since or self.up_since)
        try:
            due = task.due(state, now=now, up_since=up_since, sun=self.sun)
            following = due.next_slot
            due_at = None if following is None else following + task.jitter().delay(following)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one task, the others go on
            self._exclude(entry, error)
            return None
        entry.state = ScheduleState(
            handled_until=due.handled_until, runs=state.runs + len(due.slots)
        )
        entry.is_asked = task.definition.waits_when_full and bool(due.slots)
        self._set(entry, None if entry.is_asked else due_at)
        return DueSlots(
            task_id=task.id,
            slots=due.slots,
            handled_until=due.handled_until,
            max_running=task.definition.max_running,
            waits_when_full=task.definition.waits_when_full,
        )

    def _enter(self, entry: Entry) -> None:
        task, due_at = entry.task, None
        if (
            isinstance(task, PeriodicTask)
            and not entry.is_asked
            and (entry.message is not None or task.definition.name not in self._taken_names)
        ):
            try:
                due_at = task.next_run(entry.state, sun=self.sun)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one task, the others go on
                self._exclude(entry, error)
                return
            if due_at is not None and entry.not_before is not None:
                due_at = max(due_at, entry.not_before)
        if due_at != entry.due_at:
            self._set(entry, due_at)

    def _exclude(self, entry: Entry, error: Exception) -> None:
        _log.error("periodic task %s cannot be scheduled", entry.task.id, exc_info=error)
        self._set(entry, None)
        self.report(entry.task.id, f"cannot be scheduled: {error}")

    def _set(self, entry: Entry, due_at: datetime | None) -> None:
        entry.due_at = due_at
        entry.generation = next(self._generations)
        if due_at is not None:
            heappush(self._heap, (due_at, entry.generation, entry.task.id))
        if len(self._heap) > _MANY * len(self._entries) + _FEW:
            self.tidy()


def _timing(task: PeriodicTask | UnreadableTask) -> object:
    if isinstance(task, UnreadableTask):
        return None
    definition = task.definition
    return (
        definition.schedule,
        definition.start_at,
        definition.end_at,
        task.enabled,
        task.enabled_at,
    )
