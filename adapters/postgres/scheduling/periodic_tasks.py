"""`PeriodicTaskRepository` in the tables `periodic_tasks` and `schedule_states`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    collate,
    delete,
    func,
    literal_column,
    select,
    text,
    update,
)

from adapters.postgres.scheduling.rows import COLUMNS, to_row, to_run, to_task
from adapters.postgres.scheduling.statements import LAST_RUNS
from adapters.postgres.scheduling.tables import periodic_tasks, schedule_states, task_runs
from adapters.postgres.table_gateway import OrderBy, TableGateway, any_of, contains
from adapters.postgres.transaction import Transaction
from application.paging import Page, PageRequest, Sort
from application.ports.periodic_tasks import (
    PeriodicTaskFilter,
    PeriodicTaskRepository,
    ScheduledTask,
)
from domain.scheduling.errors import PeriodicTaskNameTaken, PeriodicTaskNotFound
from domain.scheduling.options import OptionsCheck, unchecked
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from domain.text import search_key


class PostgresPeriodicTaskRepository(PeriodicTaskRepository):
    """Periodic tasks, seen through one transaction."""

    def __init__(self, transaction: Transaction, check_options: OptionsCheck = unchecked) -> None:
        self._transaction = transaction
        self._gateway = TableGateway[PeriodicTask | UnreadableTask](
            transaction,
            periodic_tasks,
            to_row=_to_row,
            of_row=partial(to_task, check_options=check_options),
            columns=_COLUMNS,
        )

    async def add(self, task: PeriodicTask) -> None:
        await self._gateway.add(task, conflicts=_conflicts(task))

    async def find(self, task_id: PeriodicTaskId) -> ScheduledTask | None:
        task = await self._gateway.find(periodic_tasks.c.id == task_id)
        return None if task is None else (await self._with_last_runs([task]))[0]

    async def lock(self, task_id: PeriodicTaskId) -> ScheduledTask:
        tasks = await self._gateway.lock(periodic_tasks.c.id == task_id)
        if not tasks:
            raise PeriodicTaskNotFound(task_id)
        return (await self._scheduled(tasks))[0]

    async def save(self, task: PeriodicTask | UnreadableTask) -> None:
        if isinstance(task, PeriodicTask):
            await self._gateway.save(task, conflicts=_conflicts(task))
        else:
            await self._transaction.write(
                update(periodic_tasks)
                .where(periodic_tasks.c.id == task.id)
                .values(
                    enabled=task.enabled,
                    enabled_at=task.enabled_at,
                    updated_at=task.updated_at,
                    reset_at=task.reset_at,
                )
            )

    async def forget_schedule_state(self, task_id: PeriodicTaskId) -> None:
        await self._transaction.write(
            update(schedule_states)
            .where(schedule_states.c.task_id == task_id)
            .values(handled_until=None, runs=0)
        )

    async def delete(self, task_id: PeriodicTaskId) -> None:
        # Runs before the schedule state, and in order: beats lock them like this too.
        runs = select(task_runs.c.id).where(task_runs.c.task_id == task_id)
        there = runs.order_by(task_runs.c.id).with_for_update()
        await self._transaction.write(delete(task_runs).where(task_runs.c.id.in_(there)))
        await self._gateway.delete(
            periodic_tasks.c.id == task_id
        )  # a trigger removes its schedule state

    async def page(self, criteria: PeriodicTaskFilter, page: PageRequest) -> Page[ScheduledTask]:
        needle = search_key(criteria.keyword or "")
        if needle is None:
            return Page([], 0)
        sort = page.sort or Sort("name")
        order_by = OrderBy(_SORTS[sort.by], descending=sort.descending)
        found = await self._gateway.page(page, *_conditions(criteria, needle), order_by=order_by)
        return Page(await self._with_last_runs(found.records), found.total)

    async def lock_all(self, ids: Collection[PeriodicTaskId]) -> Sequence[ScheduledTask]:
        tasks = await self._gateway.lock(any_of(periodic_tasks.c.id, ids))
        if missing := set(ids) - {task.id for task in tasks}:
            raise PeriodicTaskNotFound(min(missing))
        return await self._scheduled(tasks)

    async def names(self, ids: Collection[PeriodicTaskId]) -> Mapping[PeriodicTaskId, str]:
        table = periodic_tasks.c
        rows = await self._transaction.read(
            select(table.id, table.name).where(any_of(table.id, ids))
        )
        return {row.id: row.name for row in rows}

    async def _with_last_runs(
        self, tasks: Sequence[PeriodicTask | UnreadableTask]
    ) -> Sequence[ScheduledTask]:
        rows = await self._transaction.read(LAST_RUNS.bindparams(ids=[task.id for task in tasks]))
        last = {row.task_id: to_run(row) for row in rows}
        scheduled = await self._scheduled(tasks)
        return [replace(each, last_run=last.get(each.task.id)) for each in scheduled]

    async def _scheduled(
        self, tasks: Sequence[PeriodicTask | UnreadableTask]
    ) -> Sequence[ScheduledTask]:
        states = await self._states([task.id for task in tasks])
        return [
            ScheduledTask(task=task, schedule_state=states.get(task.id, ScheduleState()))
            for task in tasks
        ]

    async def _states(
        self, ids: Collection[PeriodicTaskId]
    ) -> Mapping[PeriodicTaskId, ScheduleState]:
        table = schedule_states.c
        rows = await self._transaction.read(
            select(table.task_id, table.handled_until, table.runs).where(any_of(table.task_id, ids))
        )
        return {
            row.task_id: ScheduleState(handled_until=row.handled_until, runs=row.runs)
            for row in rows
        }


_SORTS: Mapping[str, Sequence[Column[Any]]] = {
    "name": (periodic_tasks.c.name,),
    "created_at": (periodic_tasks.c.created_at, periodic_tasks.c.id),
    "updated_at": (periodic_tasks.c.updated_at, periodic_tasks.c.id),
}
_COLUMNS: list[ColumnElement[Any]] = [
    literal_column(read).label(name) for name, read in COLUMNS.items()
]


def _to_row(task: PeriodicTask | UnreadableTask) -> dict[str, object]:
    assert isinstance(task, PeriodicTask)  # noqa: S101 - an unreadable task is never stored
    return to_row(task)


def _conflicts(task: PeriodicTask) -> Mapping[str, PeriodicTaskNameTaken]:
    return {"uq_periodic_tasks_name": PeriodicTaskNameTaken(task.name)}


def _conditions(criteria: PeriodicTaskFilter, needle: str) -> list[ColumnElement[bool]]:
    table, state = periodic_tasks.c, schedule_states.c
    conditions: list[ColumnElement[bool]] = []
    if needle:
        conditions.append(contains([_folded(table.name), _folded(table.description)], needle))
    if criteria.task is not None:
        conditions.append(table.task == criteria.task)
    if criteria.kind is not None:
        conditions.append(table.kind == criteria.kind)
    if criteria.enabled is not None:
        conditions.append(table.enabled == criteria.enabled)
    if criteria.invalid is not None:
        flagged = (
            select(state.task_id)
            .where(state.task_id == table.id, state.problem.is_not(None))
            .exists()
        )
        conditions.append(flagged if criteria.invalid else ~flagged)
    return conditions


def _folded(column: ColumnElement[str]) -> ColumnElement[str]:
    """Return what stands in the column as `domain.text.fold` gives it, but for letters such as ß."""
    normal = text("NFKC")
    return func.normalize(func.lower(func.normalize(collate(column, "default"), normal)), normal)
