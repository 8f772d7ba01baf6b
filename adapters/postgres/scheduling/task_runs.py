"""`RunRepository` and `RunLog` in the table `task_runs`."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    and_,
    delete,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect
from adapters.postgres.scheduling import statements
from adapters.postgres.scheduling.rows import LONGEST_PROBLEM, run_to_row, to_run
from adapters.postgres.scheduling.tables import (
    SCHEDULING_CHANNEL,
    deleted_periodic_tasks,
    is_active,
    periodic_tasks,
    task_runs,
)
from adapters.postgres.transaction import Transaction
from application.paging import Cursor, Slice
from application.ports.run_log import Begun, Finished, RunLog
from application.ports.task_runs import RunFilter, RunRepository
from domain.scheduling.errors import RunNotFound
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState
from domain.text import storable_text

_REMEMBER_DELETED = timedelta(days=30)
"""Far longer than any beat goes without comparing everything, and than messages wait for a worker."""
_LONGEST_WORKER = 255


class PostgresRunRepository(RunRepository):
    """Runs, seen through one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def request(self, run: Run) -> None:
        await self._transaction.write(insert(task_runs).values(run_to_row(run)))
        await self._transaction.write(select(func.pg_notify(SCHEDULING_CHANNEL, "")))

    async def slice(
        self, task_id: PeriodicTaskId, *, after: Cursor | None, limit: int
    ) -> Slice[Run]:
        return await self._slice([task_runs.c.task_id == task_id], after, limit)

    async def search(
        self, criteria: RunFilter, *, at: datetime, after: Cursor | None, limit: int
    ) -> Slice[Run]:
        found = await self._slice(
            [
                condition if criteria.task_id is None else condition & of_task
                for condition in _in_state(criteria.state, at)
                for of_task in [task_runs.c.task_id == criteria.task_id]
            ],
            after,
            limit,
        )
        return replace(found, records=[run.seen_at(at) for run in found.records])

    async def _slice(
        self, either: Sequence[ColumnElement[bool]], after: Cursor | None, limit: int
    ) -> Slice[Run]:
        """Return runs of which one of the conditions holds, which exclude each other: each follows its own index."""
        newest = (task_runs.c.scheduled_for.desc(), task_runs.c.id.desc())
        place = tuple_(task_runs.c.scheduled_for, task_runs.c.id)
        parts = [
            select(task_runs)
            .where(condition, true() if after is None else place < tuple_(after.at, after.id))
            .order_by(*newest)
            .limit(limit + 1)
            for condition in either
        ]
        if len(parts) == 1:
            (statement,) = parts
        else:
            union = union_all(*(select(part.subquery()) for part in parts)).subquery()
            statement = (
                select(union)
                .order_by(union.c.scheduled_for.desc(), union.c.id.desc())
                .limit(limit + 1)
            )
        runs = [to_run(row) for row in await self._transaction.read(statement)]
        last = runs[limit - 1] if len(runs) > limit else None
        return Slice(runs[:limit], None if last is None else Cursor(last.scheduled_for, last.id))

    async def lock(self, run_id: RunId) -> Run:
        statement = select(task_runs).where(task_runs.c.id == run_id).with_for_update()
        row = (await self._transaction.write(statement)).one_or_none()
        if row is None:
            raise RunNotFound(run_id)
        return to_run(row)

    async def save(self, run: Run) -> None:
        await self._transaction.write(
            update(task_runs)
            .where(task_runs.c.id == run.id)
            .values(state=run.state.value, finished_at=run.finished_at)
        )

    async def prune(self, *, before: datetime, limit: int) -> int:
        await self._transaction.write(
            delete(deleted_periodic_tasks).where(
                deleted_periodic_tasks.c.deleted_at < func.now() - _REMEMBER_DELETED
            )
        )
        is_overdue = func.coalesce(task_runs.c.deadline < before, False)
        waits = task_runs.c.state == RunState.REQUESTED.value
        old = (
            select(task_runs.c.id)
            .where(
                task_runs.c.scheduled_for < before,
                not_(waits),
                or_(not_(is_active), is_overdue),
            )
            .order_by(task_runs.c.scheduled_for)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        done = await self._transaction.write(delete(task_runs).where(task_runs.c.id.in_(old)))
        return done.rowcount


def _in_state(state: RunState | None, at: datetime) -> Sequence[ColumnElement[bool]]:
    """Return conditions of which one holds for a run that is in that state at that moment, as in `Run.state_at`."""
    is_overdue = func.coalesce(task_runs.c.deadline < at, False)

    def stored(state: RunState) -> ColumnElement[bool]:
        return task_runs.c.state == literal(state.value, literal_execute=True)

    match state:
        case None:
            return [true()]
        case RunState.EXPIRED:
            return [stored(RunState.PUBLISHED) & is_overdue]
        case RunState.FAILED:
            return [stored(RunState.FAILED), stored(RunState.STARTED) & is_overdue]
        case RunState.PUBLISHED | RunState.STARTED:
            return [stored(state) & not_(is_overdue)]
        case _:
            return [stored(state)]


class PostgresRunLog(RunLog):
    """Each record is a statement of its own, over a connection of the pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin(self, begun: Begun) -> bool:
        now: dict[str, object] = {
            "state": RunState.STARTED.value,
            "started_at": begun.at,
            "finished_at": None,
            "deadline": begun.deadline,
            "worker": storable_text(begun.worker[:_LONGEST_WORKER]),
            "error": "",
        }
        row = {
            "id": begun.run_id,
            "task_id": begun.task_id,
            "scheduled_for": begun.scheduled_for,
            **now,
        }
        there = select(periodic_tasks.c.id).where(periodic_tasks.c.id == begun.task_id)
        deleted = select(deleted_periodic_tasks.c.task_id).where(
            deleted_periodic_tasks.c.task_id == begun.task_id, not_(there.exists())
        )
        values = [literal(value, task_runs.c[column].type) for column, value in row.items()]
        new = upsert(task_runs).from_select([*row], select(*values).where(not_(deleted.exists())))
        # As in `Run.may_begin`.
        has_expired = func.coalesce(task_runs.c.deadline < begun.at, False)
        is_cancelled = task_runs.c.state == RunState.CANCELLED.value
        is_first = and_(task_runs.c.started_at.is_(None), not_(has_expired), not_(is_cancelled))
        is_another = and_(
            literal(begun.again),
            task_runs.c.started_at.is_not(None),
            task_runs.c.state != RunState.SUCCEEDED.value,
        )
        statement = new.on_conflict_do_update(
            index_elements=[task_runs.c.id],
            set_=now,
            where=or_(is_first, is_another),
        ).returning(task_runs.c.id)
        async with aclosing(await connect(self._engine)) as connection:
            return (await connection.execute(statement)).first() is not None

    async def finish(self, runs: Sequence[Finished]) -> None:
        if not runs:
            return
        async with aclosing(await connect(self._engine)) as connection:
            await connection.execute(statements.RECORD_FINISHED, finished_columns(runs))


def finished_columns(runs: Sequence[Finished]) -> dict[str, object]:
    """Return the parameters of a statement that notes how runs have ended."""
    return {
        "ids": [run.run_id for run in runs],
        "ats": [run.at for run in runs],
        "errors": [run.error and storable_error(run.error) for run in runs],
    }


def storable_error(words: str) -> str:
    """Return what went wrong as PostgreSQL can store it."""
    return storable_text(words[:LONGEST_PROBLEM])
