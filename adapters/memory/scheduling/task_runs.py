"""Runs in memory: as users see them, and as workers record them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from adapters.memory.store import MemoryStore, MemoryTable, MemoryTransaction
from application.paging import Cursor, Slice
from application.ports.run_log import Begun, Finished, RunLog
from application.ports.task_runs import RunFilter, RunRepository
from domain.scheduling.errors import RunNotFound
from domain.scheduling.periodic_tasks import PeriodicTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState


class MemoryRunRepository(RunRepository):
    """Runs, seen through one transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self._runs: MemoryTable[RunId, Run] = transaction.table(
            Run, cascade=PeriodicTask, owner=lambda run: run.task_id
        )

    async def request(self, run: Run) -> None:
        self._runs.write(run.id, run)

    async def slice(
        self, task_id: PeriodicTaskId, *, after: Cursor | None, limit: int
    ) -> Slice[Run]:
        return _slice(self._runs.where(lambda run: run.task_id == task_id), after, limit)

    async def search(
        self, criteria: RunFilter, *, at: datetime, after: Cursor | None, limit: int
    ) -> Slice[Run]:
        found = self._runs.where(
            lambda run: (
                criteria.task_id in {None, run.task_id}
                and criteria.state in {None, run.state_at(at)}
            )
        )
        return _slice([run.seen_at(at) for run in found], after, limit)

    async def lock(self, run_id: RunId) -> Run:
        await self._transaction.lock(("run", run_id))
        run = self._runs.find(run_id)
        if run is None:
            raise RunNotFound(run_id)
        return run

    async def save(self, run: Run) -> None:
        stored = await self.lock(run.id)
        self._runs.write(run.id, replace(stored, state=run.state, finished_at=run.finished_at))

    async def prune(self, *, before: datetime, limit: int) -> int:
        old = self._runs.where(
            lambda run: run.scheduled_for < before and not _may_be_active(run, before)
        )
        for run in old[:limit]:
            self._runs.remove(run.id)
        return len(old[:limit])


def _slice(found: Sequence[Run], after: Cursor | None, limit: int) -> Slice[Run]:
    newest = sorted(found, key=_cursor, reverse=True)
    rest = [run for run in newest if after is None or _cursor(run) < after]
    following = _cursor(rest[limit - 1]) if len(rest) > limit else None
    return Slice(rest[:limit], following)


def _may_be_active(run: Run, moment: datetime) -> bool:
    return run.state is RunState.REQUESTED or run.is_active_at(moment)


def _cursor(run: Run) -> Cursor:
    return Cursor(run.scheduled_for, run.id)


class MemoryRunLog(RunLog):
    """The outcomes of runs, visible to all at once."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._runs = store.runs

    async def begin(self, begun: Begun) -> bool:
        if (
            begun.task_id in self._store.deleted_periodic_tasks
            and begun.task_id not in self._store.periodic_tasks
        ):
            return False
        run = self._runs.get(begun.run_id) or Run(
            id=begun.run_id,
            task_id=begun.task_id,
            scheduled_for=begun.scheduled_for,
            state=RunState.CLAIMED,
        )
        if not run.may_begin(begun.at, again=begun.again):
            return False
        self._runs[run.id] = replace(
            run,
            state=RunState.STARTED,
            started_at=begun.at,
            finished_at=None,
            error="",
            deadline=begun.deadline,
            worker=begun.worker,
        )
        return True

    async def finish(self, runs: Sequence[Finished]) -> None:
        for finished in runs:
            run = self._runs.get(finished.run_id)
            succeeds_now = finished.error is None and run and run.state is RunState.FAILED
            if run and (run.finished_at is None or succeeds_now):
                self._runs[run.id] = replace(
                    run,
                    state=RunState.SUCCEEDED if finished.error is None else RunState.FAILED,
                    finished_at=finished.at,
                    error=finished.error or "",
                )
