"""Periodic tasks as users see them: list, get. See `changes` for what users do with them."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from application.paging import Page, PageRequest
from application.ports.periodic_tasks import PeriodicTaskFilter, ScheduledTask
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from domain.scheduling.errors import PeriodicTaskNotFound
from domain.scheduling.firing import Sun
from domain.scheduling.periodic_tasks import PeriodicTask, UnreadableTask
from domain.scheduling.schedules import Solar
from domain.scheduling.slots import PeriodicTaskId

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DescribePeriodicTasks:
    """Add to tasks what follows from their definitions and schedule states at this moment."""

    clock: Clock
    sun: Sun

    async def __call__(self, found: Sequence[ScheduledTask]) -> Sequence[ScheduledTask]:
        tasks = [scheduled.task for scheduled in found]
        return await run_in_thread_if_slow(tasks, lambda: [*map(self._described, found)])

    async def one(self, scheduled: ScheduledTask) -> ScheduledTask:
        """Describe one."""
        (described,) = await self([scheduled])
        return described

    def _described(self, scheduled: ScheduledTask) -> ScheduledTask:
        task, schedule_state, now = scheduled.task, scheduled.schedule_state, self.clock.now()
        last_run = scheduled.last_run and scheduled.last_run.seen_at(now)
        if isinstance(task, UnreadableTask):
            return replace(scheduled, last_run=last_run)
        return replace(
            scheduled,
            next_run_at=next(task.next_slots(schedule_state, now=now, sun=self.sun), None),
            last_slot=task.last_slot(schedule_state, sun=self.sun),
            last_run=last_run,
        )


async def run_in_thread_if_slow(
    tasks: Iterable[PeriodicTask | UnreadableTask], compute: Callable[[], T]
) -> T:
    """Return what `compute` gives; in a thread if one of the tasks follows the sun, which takes milliseconds a time."""
    if any(isinstance(t, PeriodicTask) and isinstance(t.definition.schedule, Solar) for t in tasks):
        return await asyncio.to_thread(compute)
    return compute()


@dataclass(frozen=True, slots=True)
class ListPeriodicTasks:
    """Return one page of the periodic tasks that match a filter."""

    uow: UnitOfWorkFactory
    view: DescribePeriodicTasks

    async def __call__(
        self, criteria: PeriodicTaskFilter, page: PageRequest
    ) -> Page[ScheduledTask]:
        async with self.uow() as uow:
            found = await uow.periodic_tasks.page(criteria, page)
        return Page(await self.view(found.records), found.total)


@dataclass(frozen=True, slots=True)
class GetPeriodicTask:
    """Return one periodic task."""

    uow: UnitOfWorkFactory
    view: DescribePeriodicTasks

    async def __call__(self, task_id: PeriodicTaskId) -> ScheduledTask:
        """Raise `PeriodicTaskNotFound`."""
        async with self.uow() as uow:
            found = await find(uow, task_id)
        return await self.view.one(found)


async def find(uow: UnitOfWork, task_id: PeriodicTaskId) -> ScheduledTask:
    """Return a task and its schedule state; raise `PeriodicTaskNotFound`."""
    found = await uow.periodic_tasks.find(task_id)
    if found is None:
        raise PeriodicTaskNotFound(task_id)
    return found
