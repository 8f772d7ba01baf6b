"""Queue → due: the schedule state of every periodic task, and a heap of the times at which one is due."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from itertools import count

from application.ports.publisher import Message
from application.ports.run_claims import DueSlots
from domain.scheduling.firing import Sun
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId

_log = logging.getLogger(__name__)

_FEW = 1000
"""The number of stale heap items that are tolerated before compacting."""
_MANY = 8
"""The heap grows to at most this multiple of the number of tasks."""

FIRST_PAUSE = timedelta(seconds=0.25)
LONGEST_PAUSE = timedelta(seconds=2)
"""Pauses before slots of a task that is at `max_running` are claimed again."""

_NO_STATE = ScheduleState()


@dataclass(frozen=True, slots=True)
class ConfiguredTask:
    """An entry of the configuration: a task and its message, or why it cannot be run."""

    id: PeriodicTaskId
    name: str
    task: PeriodicTask | None = None
    message: Message = field(default_factory=Message)
    problem: str | None = None


@dataclass(slots=True)
class Entry:
    """A task as the beat knows it."""

    task: PeriodicTask | UnreadableTask
    state: ScheduleState
    ready_since: datetime | None
    """Since when the beat knows the schedule of the task; None means since it started."""
    message: Message | None = None
    """The message of a task of the configuration, which replaces that of the definition."""
    due_at: datetime | None = None
    """When its next slot comes to run; None if none will."""
    generation: int = 0
    """The generation of the valid heap item; items with another generation are stale."""
    is_claiming: bool = False
    """Whether slots of a task that waits when full are being claimed: the next ones follow the answer."""
    pause: timedelta = timedelta(0)
    """The pause until slots are claimed again that exceeded `max_running`."""
    not_before: datetime | None = None
    """The end of that pause."""

    def reset_claim(self) -> None:
        """Forget a claim that was not answered."""
        self.is_claiming, self.pause, self.not_before = False, timedelta(0), None


@dataclass(slots=True)
class ScheduleQueue:
    """Every task and the time at which it is due next. The cost of a change does not depend on the number of tasks.

    Tasks that are paused, over or unreadable are not in the heap, and neither is a stored task whose name the
    configuration takes.
    """

    up_since: datetime
    """Slots from this time on are not misfires: a beat was running."""
    sun: Sun
    configured: Iterable[ConfiguredTask] = ()
    problems: dict[PeriodicTaskId, str] = field(default_factory=dict[PeriodicTaskId, str])
    """Why tasks cannot be read, scheduled or claimed, until their definition changes."""
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while many tasks are defined or restored, which yields to other loops."""
    _entries: dict[PeriodicTaskId, Entry] = field(default_factory=dict)
    _heap: list[tuple[datetime, int, PeriodicTaskId]] = field(default_factory=list)
    _generations: Iterator[int] = field(default_factory=lambda: count(1))
    _taken_names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        configured = [*self.configured]
        self._taken_names = frozenset(each.name for each in configured)
        for each in configured:
            if each.problem is not None:
                self.problems[each.id] = each.problem
            if each.task is not None:
                entry = Entry(each.task, self._unseen(), None, each.message)
                self._entries[each.id] = entry
                self._enter(entry)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def next_due_at(self) -> datetime | None:
        """The earliest time in the heap, None if it is empty; it may be that of a stale item."""
        first = next(iter(self._heap), None)  # other threads ask too, while the last item may go
        return None if first is None else first[0]

    def find(self, task_id: PeriodicTaskId) -> Entry | None:
        """Return the entry of a task if there is one."""
        return self._entries.get(task_id)

    def define(
        self, task: PeriodicTask | UnreadableTask, *, ready_since: datetime | None = None
    ) -> None:
        """Add a stored task, or replace its definition; its schedule state stays.

        If that changes when it is due, slots before `ready_since` (None: before the beat came up) are missed ones.
        """
        if isinstance(task, UnreadableTask):
            self.problems[task.id] = task.reason
        else:
            self.problems.pop(task.id, None)
        entry = self._entries.get(task.id)
        if entry is None:
            entry = self._entries[task.id] = Entry(task, _NO_STATE, ready_since)
        elif entry.message is None:
            if _timing(entry.task) != _timing(task):
                entry.ready_since = ready_since
            if entry.task.reset_at != task.reset_at:
                entry.state = _NO_STATE
                entry.reset_claim()
            entry.task = task
        self._enter(entry)

    def forget(self, task_id: PeriodicTaskId) -> None:
        """Drop a stored task that was deleted."""
        self.problems.pop(task_id, None)
        entry = self._entries.get(task_id)
        if entry is not None and entry.message is None:
            del self._entries[task_id]

    def restore(self, schedule_states: Mapping[PeriodicTaskId, ScheduleState]) -> Iterator[None]:
        """Take over all schedule states, one task per step."""
        for task_id, entry in [*self._entries.items()]:
            state = schedule_states.get(task_id) or (
                _NO_STATE if entry.message is None else self._unseen()
            )
            if entry.state != state or entry.is_claiming:
                entry.state = state
                entry.reset_claim()
                self._enter(entry)
            yield

    def unseen_tasks(
        self, schedule_states: Mapping[PeriodicTaskId, ScheduleState]
    ) -> list[DueSlots]:
        """Return entries without slots for configured tasks that have no schedule state yet: they count from now on."""
        return [
            DueSlots(task_id=task_id, slots=(), handled_until=self.up_since)
            for task_id, entry in self._entries.items()
            if entry.message is not None and task_id not in schedule_states
        ]

    def due(self, now: datetime, *, limit: int) -> list[DueSlots]:
        """Return what is due at `now`, about `limit` slots, and mark these as handled."""
        due_slots: list[DueSlots] = []
        slots = 0
        heap, entries = self._heap, self._entries
        while slots < limit and heap and heap[0][0] <= now:
            _, generation, task_id = heappop(heap)
            entry = entries.get(task_id)
            if entry is not None and entry.generation == generation:
                due = self._take(entry, now)
                if due is not None:
                    due_slots.append(due)
                    slots += len(due.slots)
        return due_slots

    def return_slots(self, task_id: PeriodicTaskId, runs: int) -> None:
        """Do not count this many runs: their slots were not claimed."""
        entry = self._entries.get(task_id)
        if entry is not None:
            state = entry.state
            entry.state = ScheduleState(
                handled_until=state.handled_until, runs=max(0, state.runs - runs)
            )
            self._enter(entry)

    def resume(
        self, task_id: PeriodicTaskId, state: ScheduleState | None, *, now: datetime
    ) -> None:
        """Take over the state of a task that waits when full (None: all its slots were claimed).

        If slots are left, `max_running` is reached. Nothing signals the end of a run, so the claim is repeated, soon at
        first.
        """
        entry = self._entries.get(task_id)
        if entry is None or not entry.is_claiming:
            return
        pause = min(2 * entry.pause or FIRST_PAUSE, LONGEST_PAUSE)
        wanted = entry.state.handled_until
        entry.reset_claim()
        if state is not None:
            if state.handled_until and wanted and state.handled_until < wanted:
                entry.pause, entry.not_before = pause, now + pause
            entry.state = state
        self._enter(entry)

    def set_back(self, now: datetime) -> None:
        """Adapt to a clock that was set back: nothing after now is a misfire."""
        self.up_since = min(self.up_since, now)
        for entry in self._entries.values():
            if entry.ready_since is not None and entry.ready_since > now:
                entry.ready_since = now
            if entry.not_before is not None and entry.not_before > now + LONGEST_PAUSE:
                entry.not_before = None
                self._enter(entry)

    def compact(self) -> None:
        """Drop stale heap items if there are many. This takes long; call it when nothing is due."""
        if len(self._heap) > 2 * len(self._entries) + _FEW:
            self._heap[:] = [
                (entry.due_at, entry.generation, task_id)
                for task_id, entry in self._entries.items()
                if entry.due_at is not None
            ]
            heapify(self._heap)

    def _unseen(self) -> ScheduleState:
        # The slots of a configured task begin with the beat that sees it first, not in 1970.
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
        except Exception as error:  # noqa: BLE001 - an error of one task does not stop the others
            self._exclude(entry, error)
            return None
        entry.state = ScheduleState(
            handled_until=due.handled_until, runs=state.runs + len(due.slots)
        )
        entry.is_claiming = task.definition.waits_when_full and bool(due.slots)
        self._set(entry, None if entry.is_claiming else due_at)
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
            and not entry.is_claiming
            and (entry.message is not None or task.definition.name not in self._taken_names)
        ):
            try:
                due_at = task.next_run(entry.state, sun=self.sun)
            except Exception as error:  # noqa: BLE001 - an error of one task does not stop the others
                self._exclude(entry, error)
                return
            if due_at is not None and entry.not_before is not None:
                due_at = max(due_at, entry.not_before)
        if due_at != entry.due_at:
            self._set(entry, due_at)

    def _exclude(self, entry: Entry, error: Exception) -> None:
        _log.error("periodic task %s cannot be scheduled", entry.task.id, exc_info=error)
        self._set(entry, None)
        self.problems[entry.task.id] = f"cannot be scheduled: {error}"

    def _set(self, entry: Entry, due_at: datetime | None) -> None:
        entry.due_at = due_at
        entry.generation = next(self._generations)
        if due_at is not None:
            heappush(self._heap, (due_at, entry.generation, entry.task.id))
        if len(self._heap) > _MANY * len(self._entries) + _FEW:
            self.compact()


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
