"""Periodic tasks in memory."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adapters.memory.store import (
    DeletedPeriodicTask,
    MemoryTable,
    MemoryTransaction,
    ReadingProblem,
    page_of,
    sorted_by,
)
from application.paging import Page, PageRequest, Sort
from application.ports.periodic_tasks import (
    PeriodicTaskFilter,
    PeriodicTaskRepository,
    ScheduledTask,
)
from domain.scheduling.errors import PeriodicTaskNameTaken, PeriodicTaskNotFound
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId
from domain.text import search_key


class MemoryPeriodicTaskRepository(PeriodicTaskRepository):
    """Periodic tasks, seen through one transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self._tasks: MemoryTable[PeriodicTaskId, PeriodicTask | UnreadableTask] = transaction.table(
            PeriodicTask
        )
        self._deleted: MemoryTable[PeriodicTaskId, bool] = transaction.table(DeletedPeriodicTask)
        self._schedule_states: MemoryTable[PeriodicTaskId, ScheduleState] = transaction.table(
            ScheduleState, cascade=PeriodicTask
        )
        self._problems: MemoryTable[PeriodicTaskId, str] = transaction.table(
            ReadingProblem, cascade=PeriodicTask
        )
        self._runs: MemoryTable[RunId, Run] = transaction.table(Run)
        self._tasks.validate = self._check_unique

    async def add(self, task: PeriodicTask) -> None:
        self._tasks.write(task.id, task)

    async def find(self, task_id: PeriodicTaskId) -> ScheduledTask | None:
        task = self._tasks.find(task_id)
        return None if task is None else self._with_last_run(task)

    async def lock(self, task_id: PeriodicTaskId) -> ScheduledTask:
        await self._transaction.lock(("periodic task", task_id))
        task = self._tasks.find(task_id)
        if task is None:
            raise PeriodicTaskNotFound(task_id)
        return self._scheduled(task)

    async def lock_all(self, ids: Collection[PeriodicTaskId]) -> Sequence[ScheduledTask]:
        return [await self.lock(task_id) for task_id in sorted(set(ids))]

    async def names(self, ids: Collection[PeriodicTaskId]) -> Mapping[PeriodicTaskId, str]:
        return {task.id: task.name for task in self._tasks.where(lambda task: task.id in ids)}

    async def save(self, task: PeriodicTask | UnreadableTask) -> None:
        await self.lock(task.id)
        self._tasks.write(task.id, task)

    async def forget_schedule_state(self, task_id: PeriodicTaskId) -> None:
        self._schedule_states.remove(task_id)

    async def delete(self, task_id: PeriodicTaskId) -> None:
        await self.lock(task_id)
        self._tasks.remove(task_id)
        self._deleted.write(task_id, True)  # noqa: FBT003 - only the key counts

    async def page(self, criteria: PeriodicTaskFilter, page: PageRequest) -> Page[ScheduledTask]:
        matches = _matching(criteria)
        found = [
            task
            for task in self._tasks.where(matches)
            if criteria.invalid in {None, self._problems.find(task.id) is not None}
        ]
        tasks = page_of(sorted_by(found, page.sort or Sort("name"), _SORTS), page)
        return Page([self._with_last_run(task) for task in tasks.records], tasks.total)

    def _with_last_run(self, task: PeriodicTask | UnreadableTask) -> ScheduledTask:
        runs = self._runs.where(lambda run: run.task_id == task.id)
        last = max(runs, key=lambda run: (run.scheduled_for, run.id), default=None)
        return replace(self._scheduled(task), last_run=last)

    def _scheduled(self, task: PeriodicTask | UnreadableTask) -> ScheduledTask:
        schedule_state = self._schedule_states.find(task.id)
        return ScheduledTask(task=task, schedule_state=schedule_state or ScheduleState())

    def _check_unique(self, task: PeriodicTask | UnreadableTask) -> None:
        if self._tasks.where(lambda other: other.id != task.id and other.name == task.name):
            raise PeriodicTaskNameTaken(task.name)


_SORTS: Mapping[str, Callable[[PeriodicTask | UnreadableTask], Any]] = {
    "name": lambda task: task.name,
    "created_at": lambda task: (task.created_at, task.id),
    "updated_at": lambda task: (task.updated_at, task.id),
}


def _matching(criteria: PeriodicTaskFilter) -> Callable[[PeriodicTask | UnreadableTask], bool]:
    needle = search_key(criteria.keyword or "")

    def matches(task: PeriodicTask | UnreadableTask) -> bool:
        if isinstance(task, UnreadableTask):
            runs, kind = task.stored.get("task"), task.stored.get("kind")
            description = str(task.stored.get("description", ""))
        else:
            runs, kind = task.definition.task, task.definition.schedule.kind
            description = task.definition.description
        return (
            needle is not None
            and (needle in task.name.casefold() or needle in description.casefold())
            and criteria.task in {None, runs}
            and criteria.kind in {None, kind}
            and criteria.enabled in {None, task.enabled}
        )

    return matches
