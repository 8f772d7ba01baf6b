"""`RunClaims` in PostgreSQL: a claim is one statement, fenced by the lease."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect
from adapters.postgres.scheduling import statements
from adapters.postgres.scheduling.queries import execute, read_in_parts
from adapters.postgres.scheduling.rows import to_run
from adapters.postgres.scheduling.task_runs import finished_columns
from adapters.postgres.transaction import Transaction
from application.ports.leader_lease import (
    CLOCK_TOLERANCE,
    Leadership,
    NotLeading,
)
from application.ports.run_claims import DueSlots, Published, RunClaims
from application.ports.run_log import Finished
from domain.scheduling.periodic_tasks import ScheduleState
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, run_id


class PostgresRunClaims(RunClaims):
    """Each method is one statement over the pool, or one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def schedule_states(
        self, ids: Collection[PeriodicTaskId] | None = None
    ) -> Mapping[PeriodicTaskId, ScheduleState]:
        parts = (
            read_in_parts(self._engine, statements.SCHEDULE_STATES)
            if ids is None
            else read_in_parts(self._engine, statements.SCHEDULE_STATES_OF, ids=[*ids])
        )
        return {
            task_id: ScheduleState(handled_until=handled_until, runs=runs)
            async for part in parts
            for task_id, handled_until, runs in part
        }

    async def reset_future_states(self) -> Collection[PeriodicTaskId]:
        rows = await execute(
            self._engine, statements.RESET_FUTURE_STATES, tolerance=CLOCK_TOLERANCE
        )
        return [row.task_id for row in rows]

    async def claim(self, leadership: Leadership, due_slots: Sequence[DueSlots]) -> Sequence[Run]:
        return await self._claimed(
            statements.CLAIM, leadership, tolerance=CLOCK_TOLERANCE, **_columns(due_slots)
        )

    async def claim_requested(self, leadership: Leadership, *, limit: int) -> Sequence[Run]:
        return await self._claimed(statements.CLAIM_REQUESTED, leadership, limit=limit)

    async def claim_abandoned(self, leadership: Leadership) -> Sequence[Run]:
        return await self._claimed(statements.CLAIM_ABANDONED, leadership)

    async def record_published(self, runs: Sequence[Published]) -> None:
        if runs:
            await execute(self._engine, statements.RECORD_PUBLISHED, **_published_columns(runs))

    async def record_failed(self, runs: Sequence[Finished]) -> None:
        if runs:
            await execute(self._engine, statements.RECORD_FAILED, **finished_columns(runs))

    async def record_published_offline(
        self, due_slots: Sequence[DueSlots], published: Sequence[Published]
    ) -> None:
        columns = _columns(due_slots)
        del columns["limits"], columns["waits_when_full"]
        async with aclosing(await connect(self._engine)) as connection:
            # Runs that are stored but not recorded as published would be published again.
            transaction = Transaction(connection)
            await transaction.write(statements.RECORD_UNCLAIMED, [columns])
            await transaction.write(statements.RECORD_PUBLISHED, [_published_columns(published)])
            await transaction.commit()

    async def _claimed(
        self, statement: TextClause, leadership: Leadership, **values: object
    ) -> Sequence[Run]:
        rows = await execute(
            self._engine, statement, beat=leadership.beat, epoch=leadership.epoch, **values
        )
        if not rows:
            raise NotLeading
        return [to_run(row) for row in rows if row.id is not None]


def _columns(due_slots: Sequence[DueSlots]) -> dict[str, object]:
    # After an outage a task may be due several times; one statement must not update a row twice.
    slots = {run_id(due.task_id, slot): (due, slot) for due in due_slots for slot in due.slots}
    handled: dict[PeriodicTaskId, datetime] = {}
    for due in due_slots:
        before = handled.get(due.task_id, due.handled_until)
        handled[due.task_id] = max(before, due.handled_until)
    return {
        "ids": [*slots],
        "task_ids": [due.task_id for due, _ in slots.values()],
        "slots": [slot for _, slot in slots.values()],
        "limits": [due.max_running for due, _ in slots.values()],
        "waits_when_full": [due.waits_when_full for due, _ in slots.values()],
        "due_ids": [*handled],
        "handled": [*handled.values()],
    }


def _published_columns(runs: Sequence[Published]) -> dict[str, object]:
    return {
        "ids": [run.run_id for run in runs],
        "ats": [run.at for run in runs],
        "deadlines": [run.deadline for run in runs],
    }
