"""`LeaderLease` in PostgreSQL: one row, and the clock of the server."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.scheduling import statements
from adapters.postgres.scheduling.queries import execute
from adapters.postgres.scheduling.tables import SCHEDULING_CHANNEL
from adapters.postgres.scheduling.task_runs import storable_error
from application.ports.leader_lease import (
    BeatId,
    BeatReport,
    LeaderLease,
    Leadership,
    PublishingProblem,
    SchedulerStatus,
)


class PostgresLeaderLease(LeaderLease):
    """Each method is one statement over the pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def now(self) -> datetime:
        (row,) = await execute(self._engine, statements.NOW)
        now: datetime = row.now
        return now

    async def lead(
        self, beat: BeatId, *, lease: timedelta, report: BeatReport
    ) -> Leadership | None:
        rows = await execute(
            self._engine, statements.LEAD, beat=beat, lease=lease, report=_write_report(report)
        )
        return Leadership(beat=beat, epoch=rows[0].epoch) if rows else None

    async def report_standby(self, beat: BeatId, report: BeatReport) -> None:
        await execute(
            self._engine, statements.REPORT_STANDBY, beat=beat, report=_write_report(report)
        )

    async def release(self, leadership: Leadership) -> None:
        await execute(
            self._engine,
            statements.RELEASE,
            beat=leadership.beat,
            epoch=leadership.epoch,
            channel=SCHEDULING_CHANNEL,
        )

    async def status(self) -> SchedulerStatus:
        (row,) = await execute(self._engine, statements.STATUS)
        return SchedulerStatus(
            report=None if row.report is None else _read_report(row.report),
            epoch=row.epoch or 0,
            leads=bool(row.leads),
            leads_until=row.leads_until,
            invalid=row.invalid,
        )


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
