"""The ports of the beat in PostgreSQL: what a beat reads, and its claims, each one statement."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect, listener
from adapters.postgres.errors import unavailable
from adapters.postgres.scheduling import statements
from adapters.postgres.scheduling.rows import to_run, to_task
from adapters.postgres.scheduling.tables import SCHEDULING_CHANNEL
from adapters.postgres.scheduling.task_runs import finished_columns, storable_error
from adapters.postgres.transaction import Transaction
from application.ports.definition_feed import Changes, Defined, DefinitionFeed, Mark, Version
from application.ports.leader_lease import (
    CLOCK_TOLERANCE,
    BeatId,
    BeatReport,
    LeaderLease,
    Leadership,
    NotLeading,
    PublishingProblem,
    SchedulerStatus,
)
from application.ports.run_claims import DueSlots, Published, RunClaims
from application.ports.run_log import Finished
from application.settings import PostgresSettings
from domain.scheduling.options import OptionsCheck, unchecked
from domain.scheduling.periodic_tasks import ScheduleState
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, run_id

_MOST_AT_ONCE = 500
"""Rows that are read without giving way to others: some milliseconds."""

_KEEPALIVE = timedelta(seconds=30)
"""A connection without notifications for this long is tested whether it still works."""
_LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class PostgresBeatStore(DefinitionFeed, LeaderLease, RunClaims):
    """Statements over the pool, and one more connection that listens for changes."""

    def __init__(
        self,
        engine: AsyncEngine,
        settings: PostgresSettings,
        *,
        check_options: OptionsCheck = unchecked,
        keepalive: timedelta = _KEEPALIVE,
    ) -> None:
        self._engine = engine
        self._check_options = check_options
        self._settings = settings
        self._keepalive = keepalive
        self._listener: asyncpg.Connection[Any] | None = None
        self._notified = asyncio.Event()

    # --- definitions ---

    async def load(self) -> Changes:
        return await self._changes(statements.LOAD)

    async def changes(self, since: Mark) -> Changes:
        return await self._changes(statements.CHANGES, since=since)

    async def versions(self) -> Mapping[PeriodicTaskId, Version]:
        return {
            task_id: version
            async for part in self._parts(statements.VERSIONS)
            for task_id, version in part
        }

    async def read(self, ids: Collection[PeriodicTaskId]) -> Sequence[Defined]:
        return [
            Defined(task=to_task(row, self._check_options), version=version)
            async for part in self._parts(statements.READ, ids=[*ids])
            for version, *row in part
        ]

    async def schedule_states(
        self, ids: Collection[PeriodicTaskId] | None = None
    ) -> Mapping[PeriodicTaskId, ScheduleState]:
        parts = (
            self._parts(statements.SCHEDULE_STATES)
            if ids is None
            else self._parts(statements.SCHEDULE_STATES_OF, ids=[*ids])
        )
        return {
            task_id: ScheduleState(handled_until=handled_until, runs=runs)
            async for part in parts
            for task_id, handled_until, runs in part
        }

    async def record_problems(self, problems: Mapping[PeriodicTaskId, str | None]) -> None:
        await self._execute(
            statements.RECORD_PROBLEMS,
            ids=[*problems],
            problems=[words and storable_error(words) for words in problems.values()],
        )

    async def recorded_problems(self) -> Mapping[PeriodicTaskId, str]:
        return {
            row.task_id: row.problem for row in await self._execute(statements.RECORDED_PROBLEMS)
        }

    async def changed(self) -> None:
        try:
            connection = await self._listen()
            while not await self._is_notified():
                await connection.execute("SELECT")
            self._notified.clear()
        except _LOST as error:
            self._stop_listening()
            raise unavailable(error) from error
        except BaseException:
            self._stop_listening()
            raise

    async def aclose(self) -> None:
        """Stop listening."""
        self._stop_listening()
        await asyncio.sleep(0)  # the socket closes in the next iteration of the loop

    async def _changes(self, statement: TextClause, **values: object) -> Changes:
        defined: list[Defined] = []
        deleted: list[PeriodicTaskId] = []
        mark = 0
        async for part in self._parts(statement, **values):
            for mark, is_deleted, version, *row in part:  # noqa: B007 - it is the same in every row
                if is_deleted:
                    deleted.append(row[0])
                elif version is not None:  # if nothing has changed, the mark comes alone
                    task = to_task(row, self._check_options)
                    defined.append(Defined(task=task, version=version))
        return Changes(defined=defined, deleted=deleted, mark=Mark(mark))

    async def _listen(self) -> "asyncpg.Connection[Any]":
        if self._listener is None or self._listener.is_closed():
            self._listener = await listener(self._settings)
            self._listener.add_termination_listener(self._notify)
            await self._listener.add_listener(SCHEDULING_CHANNEL, self._notify)
            # Something may have changed while nobody listened.
            self._notified.set()
        return self._listener

    async def _is_notified(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._keepalive.total_seconds()):
                return await self._notified.wait()
        return False

    def _notify(self, *_: object) -> None:
        self._notified.set()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.terminate()
            self._listener = None

    # --- leading ---

    async def now(self) -> datetime:
        (row,) = await self._execute(statements.NOW)
        now: datetime = row.now
        return now

    async def lead(
        self, beat: BeatId, *, lease: timedelta, report: BeatReport
    ) -> Leadership | None:
        rows = await self._execute(
            statements.LEAD, beat=beat, lease=lease, report=_write_report(report)
        )
        return Leadership(beat=beat, epoch=rows[0].epoch) if rows else None

    async def report_standby(self, beat: BeatId, report: BeatReport) -> None:
        await self._execute(statements.REPORT_STANDBY, beat=beat, report=_write_report(report))

    async def release(self, leadership: Leadership) -> None:
        await self._execute(
            statements.RELEASE,
            beat=leadership.beat,
            epoch=leadership.epoch,
            channel=SCHEDULING_CHANNEL,
        )

    async def status(self) -> SchedulerStatus:
        (row,) = await self._execute(statements.STATUS)
        return SchedulerStatus(
            report=None if row.report is None else _read_report(row.report),
            epoch=row.epoch or 0,
            leads=bool(row.leads),
            leads_until=row.leads_until,
            invalid=row.invalid,
        )

    # --- runs ---

    async def reset_future_states(self) -> Collection[PeriodicTaskId]:
        rows = await self._execute(statements.RESET_FUTURE_STATES, tolerance=CLOCK_TOLERANCE)
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
            await self._execute(statements.RECORD_PUBLISHED, **_published_columns(runs))

    async def record_failed(self, runs: Sequence[Finished]) -> None:
        if runs:
            await self._execute(statements.RECORD_FAILED, **finished_columns(runs))

    async def record_unclaimed(
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
        rows = await self._execute(
            statement, beat=leadership.beat, epoch=leadership.epoch, **values
        )
        if not rows:
            raise NotLeading
        return [to_run(row) for row in rows if row.id is not None]

    async def _parts(self, statement: TextClause, **values: object) -> AsyncIterator[Sequence[Any]]:
        """Yield the rows of one moment, some at a time: there may be a hundred thousand."""
        async with aclosing(await connect(self._engine)) as connection:
            transaction = await connection.execution_options(isolation_level="READ COMMITTED")
            rows = await transaction.stream(
                statement, values, execution_options={"yield_per": _MOST_AT_ONCE}
            )
            async for part in rows.partitions(_MOST_AT_ONCE):
                yield part

    async def _execute(self, statement: TextClause, **values: object) -> Sequence[Row[Any]]:
        async with aclosing(await connect(self._engine)) as connection:
            result = await connection.execute(statement, values)
            return result.all() if result.returns_rows else ()


# --- due slots, runs and reports as values ----------------------------------------------------------


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


def _write_report(report: BeatReport) -> str:
    problem = report.publishing
    return json.dumps(
        {
            **asdict(report),
            "next_slot": report.next_slot and report.next_slot.isoformat(),
            "lag": report.lag.total_seconds(),
            "problem": report.problem and storable_error(report.problem),
            "publishing": problem
            and {"since": problem.since.isoformat(), "error": storable_error(problem.error)},
        }
    )


def _read_report(data: Mapping[str, Any]) -> BeatReport:
    """Read the report of a beat, which may run an earlier or a later version of this code."""
    known = {each.name: data[each.name] for each in fields(BeatReport) if each.name in data}
    next_slot, problem = known.get("next_slot"), known.get("publishing")
    return BeatReport(
        **{
            **known,
            "next_slot": next_slot and datetime.fromisoformat(next_slot),
            "lag": timedelta(seconds=known.get("lag", 0)),
            "publishing": problem
            and PublishingProblem(
                since=datetime.fromisoformat(problem["since"]), error=problem["error"]
            ),
        }
    )
