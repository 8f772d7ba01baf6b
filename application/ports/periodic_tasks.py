"""The stored periodic tasks: what the API lists and changes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from application.paging import Page, PageRequest
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicTaskFilter:
    """Filters of a list; all must match. `keyword` is a part of the name or the description; case is ignored."""

    keyword: str | None = None
    task: str | None = None
    kind: str | None = None
    enabled: bool | None = None
    invalid: bool | None = None
    """Whether the stored definition is invalid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledTask:
    """A task as it is stored, its schedule state, and what follows from both at a moment."""

    task: PeriodicTask | UnreadableTask
    schedule_state: ScheduleState = field(default_factory=ScheduleState)
    last_run: Run | None = None
    """The newest run in any state; only `find` and `page` set it."""
    next_run_at: datetime | None = None
    """The next slot; None if the task is paused, over, or cannot be read. Only `DescribePeriodicTasks` sets it."""
    last_slot: datetime | None = None
    """The latest slot that has run or was skipped. Only `DescribePeriodicTasks` sets it."""


class PeriodicTaskRepository(Protocol):
    """The periodic tasks of one unit of work. Every method hands out copies."""

    async def add(self, task: PeriodicTask) -> None:
        """Store a new task; raise `PeriodicTaskNameTaken`."""
        ...

    async def find(self, task_id: PeriodicTaskId) -> ScheduledTask | None:
        """Return the task if there is one."""
        ...

    async def lock(self, task_id: PeriodicTaskId) -> ScheduledTask:
        """Lock the task until this unit of work ends, and return it; raise `PeriodicTaskNotFound`."""
        ...

    async def lock_all(self, ids: Collection[PeriodicTaskId]) -> Sequence[ScheduledTask]:
        """Return these tasks, locked in the order of their ids; raise `PeriodicTaskNotFound` if one does not exist."""
        ...

    async def names(self, ids: Collection[PeriodicTaskId]) -> Mapping[PeriodicTaskId, str]:
        """Return the names of those that are stored."""
        ...

    async def save(self, task: PeriodicTask | UnreadableTask) -> None:
        """Store every field of a locked task; raise `PeriodicTaskNameTaken`.

        Of a task that cannot be read, store only whether it is enabled, and when it was reset.
        """
        ...

    async def forget_schedule_state(self, task_id: PeriodicTaskId) -> None:
        """Forget how often a locked task has run, and up to where. Its runs stay in the history."""
        ...

    async def delete(self, task_id: PeriodicTaskId) -> None:
        """Remove a locked task, its schedule state and its runs."""
        ...

    async def page(self, criteria: PeriodicTaskFilter, page: PageRequest) -> Page[ScheduledTask]:
        """Return one page, ordered by name."""
        ...
