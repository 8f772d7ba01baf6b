"""Two beats and a worker on one store, and what people do to it."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from application.ports.leader_lease import (
    BeatId,
    BeatReport,
    Leadership,
    PublishingProblem,
)
from application.ports.run_log import RunLog
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.scheduling.periodic_tasks import PeriodicTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState
from tests.support.builders import A_MOMENT, a_uuid
from tests.support.scheduling_stores import BeatStore

FIRST_BEAT, SECOND_BEAT = BeatId(UUID(int=1)), BeatId(UUID(int=2))
TASK, OTHER = PeriodicTaskId(UUID(int=11)), PeriodicTaskId(UUID(int=12))
LONG, SHORT = timedelta(minutes=1), timedelta(milliseconds=20)
REPORT = BeatReport(
    name="host:1",
    problem="a problem",
    publishing=PublishingProblem(since=A_MOMENT, error="connection refused"),
    next_slot=A_MOMENT,
    lag=timedelta(seconds=0.25),
    tasks=3,
    unpublished=1,
    time_zones="2026.6",
)


class BeatStoreHarness:
    """A store with two ways to it, as two beats have, what people do to it, and what workers note."""

    def __init__(
        self, uow: UnitOfWorkFactory, beat: BeatStore, other: BeatStore, log: RunLog
    ) -> None:
        self.uow = uow
        self.beat = beat
        self.other = other
        self.log = log

    async def define(self, *tasks: PeriodicTask) -> None:
        async with self.uow() as work:
            for task in tasks:
                await work.periodic_tasks.add(task)
            await work.commit()

    async def change(self, task: PeriodicTask) -> None:
        async with self.uow() as work:
            await work.periodic_tasks.lock(task.id)
            await work.periodic_tasks.save(task)
            await work.commit()

    async def delete(self, task_id: PeriodicTaskId) -> None:
        async with self.uow() as work:
            await work.periodic_tasks.lock(task_id)
            await work.periodic_tasks.delete(task_id)
            await work.commit()

    async def request(self, task_id: PeriodicTaskId = TASK, at: datetime = A_MOMENT) -> Run:
        run = Run(
            id=RunId(a_uuid()),
            task_id=task_id,
            scheduled_for=at,
            state=RunState.REQUESTED,
            requested=True,
        )
        async with self.uow() as work:
            await work.runs.request(run)
            await work.commit()
        return run

    async def runs(self, task_id: PeriodicTaskId = TASK) -> Sequence[Run]:
        async with self.uow() as work:
            return (await work.runs.slice(task_id, after=None, limit=100)).records

    async def run_of(self, slot: datetime, task_id: PeriodicTaskId = TASK) -> Run:
        (run,) = [run for run in await self.runs(task_id) if run.scheduled_for == slot]
        return run

    async def lead(self, beat: BeatId = FIRST_BEAT, lease: timedelta = LONG) -> Leadership:
        leadership = await self.beat.lead(beat, lease=lease, report=REPORT)
        assert leadership is not None
        return leadership

    async def lapse(self) -> None:
        """Let the lease of the first beat end, however long it was."""
        await self.lead(lease=SHORT)
        await asyncio.sleep(SHORT.total_seconds() * 1.5)
