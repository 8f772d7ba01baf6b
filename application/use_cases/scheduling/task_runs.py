"""Runs as users see them: request one, list and cancel them, preview the next slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from application.paging import Cursor, Slice
from application.ports.publishing_options import PublishingOptionsPolicy
from application.ports.system import Clock, IdGenerator
from application.ports.task_runs import RunFilter
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import JobSettings
from application.use_cases.caller import Caller
from application.use_cases.scheduling.changes import STATE_FIELDS, TaskChanges
from application.use_cases.scheduling.periodic_tasks import find, run_in_thread_if_slow
from domain.scheduling.drafts import read_draft
from domain.scheduling.errors import UnreadableDefinition
from domain.scheduling.fields import Fields, Instant, OrNull, Whole
from domain.scheduling.firing import Sun
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState

MOST_PREVIEWED = 100
PREVIEWED = 10
"""How many slots a preview shows by default."""


@dataclass(frozen=True, slots=True)
class RunNow:
    """Request a run of a task, paused or not. Its schedule does not change."""

    uow: UnitOfWorkFactory
    clock: Clock
    ids: IdGenerator
    changes: TaskChanges

    async def __call__(
        self, caller: Caller, task_id: PeriodicTaskId, *, traceparent: str = ""
    ) -> Run:
        """Return the run, which the leading beat publishes; raise `PeriodicTaskNotFound` or `UnreadableDefinition`.

        The task goes on with the trace of `traceparent`.
        """
        run = Run(
            id=RunId(self.ids.new()),
            task_id=task_id,
            scheduled_for=self.clock.now(),
            state=RunState.REQUESTED,
            requested=True,
            traceparent=traceparent,
        )
        async with self.uow() as uow:
            # Locked, so that it is not deleted meanwhile.
            task = (await self.changes.lock(uow, caller, task_id)).task
            if isinstance(task, UnreadableTask):
                raise UnreadableDefinition(task.name, task.reason)
            await uow.runs.request(run)
            await self.changes.record(
                uow,
                caller,
                "scheduling.run_requested",
                task_id,
                {"name": task.definition.name, "run": str(run.id)},
            )
            await uow.commit()
        return run


@dataclass(frozen=True, slots=True)
class ListRuns:
    """List the runs of a task, newest first."""

    uow: UnitOfWorkFactory
    clock: Clock

    async def __call__(
        self, task_id: PeriodicTaskId, *, after: Cursor | None, limit: int
    ) -> Slice[Run]:
        """Raise `PeriodicTaskNotFound`."""
        async with self.uow() as uow:
            await find(uow, task_id)
            found = await uow.runs.slice(task_id, after=after, limit=limit)
        now = self.clock.now()
        return replace(found, records=[run.seen_at(now) for run in found.records])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOfTask:
    """A run, and the name of its task, if that is stored: tasks of the configuration are not."""

    run: Run
    task_name: str | None


@dataclass(frozen=True, slots=True)
class SearchRuns:
    """List the runs of all tasks, newest first."""

    uow: UnitOfWorkFactory
    clock: Clock

    async def __call__(
        self, criteria: RunFilter, *, after: Cursor | None, limit: int
    ) -> Slice[RunOfTask]:
        async with self.uow() as uow:
            found = await uow.runs.search(criteria, at=self.clock.now(), after=after, limit=limit)
            names = await uow.periodic_tasks.names({run.task_id for run in found.records})
        return Slice(
            [RunOfTask(run=run, task_name=names.get(run.task_id)) for run in found.records],
            found.next,
        )


@dataclass(frozen=True, slots=True)
class CancelRun:
    """Cancel a run that no worker has begun; the worker that gets its message drops it."""

    uow: UnitOfWorkFactory
    clock: Clock
    changes: TaskChanges

    async def __call__(self, caller: Caller, run_id: RunId) -> Run:
        """Raise `RunNotFound` or `RunNotWaiting`."""
        async with self.uow() as uow:
            await uow.roles.lock_access()
            run = await uow.runs.lock(run_id)
            await self.changes.authorize(uow, caller)
            run = run.cancelled(at=self.clock.now())
            await uow.runs.save(run)
            await self.changes.record(
                uow,
                caller,
                "scheduling.run_cancelled",
                run.task_id,
                {"run": str(run.id), "scheduled_for": run.scheduled_for.isoformat()},
            )
            await uow.commit()
        return run


@dataclass(frozen=True, slots=True)
class ListNextRuns:
    """List the next slots of a task."""

    uow: UnitOfWorkFactory
    clock: Clock
    sun: Sun

    async def __call__(self, task_id: PeriodicTaskId, *, limit: int) -> Sequence[datetime]:
        """Return up to `limit` instants, none for a task that cannot be read; raise `PeriodicTaskNotFound`."""
        async with self.uow() as uow:
            found = await find(uow, task_id)
        task, schedule_state = found.task, found.schedule_state
        if isinstance(task, UnreadableTask):
            return []
        slots = task.next_slots(schedule_state, now=self.clock.now(), sun=self.sun)
        return await run_in_thread_if_slow([task], lambda: [*islice(slots, limit)])


@dataclass(frozen=True, slots=True)
class PreviewRuns:
    """List the slots of a definition that is not stored."""

    clock: Clock
    ids: IdGenerator
    options: PublishingOptionsPolicy
    sun: Sun

    async def __call__(self, wanted: Mapping[str, object]) -> Sequence[datetime]:
        """Return up to `count` instants after `after` (by default `PREVIEWED` from now on); raise `InvalidDefinition`.

        Of a definition only `kind` and `schedule` need to be there.
        """
        draft = read_draft(
            {**_UNNAMED, **wanted},
            extra={**STATE_FIELDS, **PREVIEW_FIELDS},
            check_options=self.options.problems,
        )
        now = self.clock.now()
        task = PeriodicTask(
            id=PeriodicTaskId(self.ids.new()),
            definition=draft.build(),
            enabled_at=now,
            created_at=now,
            updated_at=now,
        )
        after, limit = draft.extra.get("after") or now, draft.extra.get("count", PREVIEWED)
        slots = islice(task.slots_after(after, sun=self.sun), task.runs_left(ScheduleState()))
        return await run_in_thread_if_slow([task], lambda: [*islice(slots, limit)])


_UNNAMED = {"name": "preview", "task": "preview"}
PREVIEW_FIELDS: Fields = {
    "after": OrNull(Instant()),
    "count": Whole(lowest=1, highest=MOST_PREVIEWED),
}
"""The fields of a preview besides those of a definition."""


@dataclass(frozen=True, slots=True)
class PruneRuns:
    """Remove runs that are older than the retention period."""

    uow: UnitOfWorkFactory
    clock: Clock
    settings: JobSettings
    batch: int = 1000

    async def __call__(self) -> int:
        """Return how many runs were removed."""
        before = self.clock.now() - self.settings.runs_retention
        removed = 0
        while True:
            async with self.uow() as uow:
                count = await uow.runs.prune(before=before, limit=self.batch)
                await uow.commit()
            removed += count
            if count < self.batch:
                return removed
