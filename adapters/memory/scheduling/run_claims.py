"""`RunClaims` on a `MemoryStore`."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from adapters.memory.store import MemoryStore
from application.ports.leader_lease import (
    CLOCK_TOLERANCE,
    Leadership,
    NotLeading,
)
from application.ports.run_claims import DueSlots, Published, RunClaims
from application.ports.run_log import Finished
from application.ports.system import Clock
from domain.scheduling.firing import RESOLUTION
from domain.scheduling.periodic_tasks import ScheduleState
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState, run_id

_NO_EPOCH = 0
"""The epoch of runs that were published without a claim."""


class MemoryRunClaims(RunClaims):
    """Runs and schedule states, seen by everybody at once."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def schedule_states(
        self, ids: Collection[PeriodicTaskId] | None = None
    ) -> Mapping[PeriodicTaskId, ScheduleState]:
        states = self._store.schedule_states
        return {one: states[one] for one in states if ids is None or one in ids}

    async def reset_future_states(self) -> Collection[PeriodicTaskId]:
        now = self._clock.now()
        ahead = {
            task_id: replace(state, handled_until=now)
            for task_id, state in self._store.schedule_states.items()
            if state.handled_until is not None and state.handled_until > now + CLOCK_TOLERANCE
        }
        self._store.schedule_states.update(ahead)
        return ahead.keys()

    async def claim(self, leadership: Leadership, due_slots: Sequence[DueSlots]) -> Sequence[Run]:
        self._fence(leadership)
        latest = self._clock.now() + CLOCK_TOLERANCE
        if any(due.handled_until > latest for due in due_slots):
            raise NotLeading
        claimed: dict[RunId, Run] = {}
        for due in due_slots:
            new = 0
            handled_until = due.handled_until
            for slot in due.slots:
                if self._stays_due(due, slot):
                    handled_until = min(handled_until, slot - RESOLUTION)
                    continue
                run, is_new = self._claim(due, slot, leadership.epoch)
                new += is_new
                if self._is_claimed_in(run, leadership.epoch):
                    claimed[run.id] = run
            self._advance(due.task_id, handled_until, new)
        return sorted(claimed.values(), key=_slot)

    async def claim_requested(self, leadership: Leadership, *, limit: int) -> Sequence[Run]:
        self._fence(leadership)
        waiting = [
            run
            for run in self._store.runs.values()
            if run.state is RunState.REQUESTED
            or (run.requested and self._is_claimed_in(run, leadership.epoch))
        ]
        return self._take(sorted(waiting, key=_slot)[:limit], leadership.epoch)

    async def claim_abandoned(self, leadership: Leadership) -> Sequence[Run]:
        self._fence(leadership)
        runs = self._store.runs.values()
        return self._take([r for r in runs if r.state is RunState.CLAIMED], leadership.epoch)

    async def record_published(self, runs: Sequence[Published]) -> None:
        for published in runs:
            if run := self._store.runs.get(published.run_id):
                waits = run.state is RunState.CLAIMED
                self._store.runs[run.id] = replace(
                    run,
                    published_at=run.published_at or published.at,
                    deadline=published.deadline if waits else run.deadline,
                    state=RunState.PUBLISHED if waits else run.state,
                )

    async def record_failed(self, runs: Sequence[Finished]) -> None:
        for failed in runs:
            run = self._store.runs.get(failed.run_id)
            if run and run.state is RunState.CLAIMED:
                self._store.runs[run.id] = replace(
                    run, state=RunState.FAILED, finished_at=failed.at, error=failed.error or ""
                )

    async def record_published_offline(
        self, due_slots: Sequence[DueSlots], published: Sequence[Published]
    ) -> None:
        for due in due_slots:
            new = 0
            for slot in due.slots:
                run = _a_claim(due, slot)
                new += run.id not in self._store.claims
                self._store.runs.setdefault(run.id, run)
                self._store.claims.setdefault(run.id, _NO_EPOCH)
            handled_until = min(due.handled_until, self._clock.now())
            self._advance(due.task_id, handled_until, new)
        await self.record_published(published)

    def _claim(self, due: DueSlots, slot: datetime, epoch: int) -> tuple[Run, bool]:
        run = _a_claim(due, slot)
        if known := self._store.runs.get(run.id):
            return known, False
        if self._is_full(due):
            run = replace(run, state=RunState.SKIPPED)
        self._store.runs[run.id] = run
        self._store.claims[run.id] = epoch
        return run, run.state is RunState.CLAIMED

    def _is_claimed_in(self, run: Run, epoch: int) -> bool:
        return run.state is RunState.CLAIMED and self._store.claims.get(run.id) == epoch

    def _active_runs(self, task_id: PeriodicTaskId) -> int:
        now = self._clock.now()
        return sum(
            run.task_id == task_id and run.is_active_at(now) for run in self._store.runs.values()
        )

    def _stays_due(self, due: DueSlots, slot: datetime) -> bool:
        return (
            due.waits_when_full
            and run_id(due.task_id, slot) not in self._store.runs
            and self._is_full(due)
        )

    def _is_full(self, due: DueSlots) -> bool:
        return due.max_running is not None and self._active_runs(due.task_id) >= due.max_running

    def _advance(self, task_id: PeriodicTaskId, handled_until: datetime, runs: int) -> None:
        before = self._store.schedule_states.get(task_id, ScheduleState())
        self._store.schedule_states[task_id] = ScheduleState(
            handled_until=max(before.handled_until or handled_until, handled_until),
            runs=before.runs + runs,
        )

    def _take(self, runs: Iterable[Run], epoch: int) -> Sequence[Run]:
        claimed = sorted((replace(run, state=RunState.CLAIMED) for run in runs), key=_slot)
        for run in claimed:
            self._store.runs[run.id] = run
            self._store.claims[run.id] = epoch
        return claimed

    def _fence(self, leadership: Leadership) -> None:
        lease = self._store.lease
        if (
            lease is None
            or (lease.beat, lease.epoch) != (leadership.beat, leadership.epoch)
            or lease.leads_until <= self._clock.now()
        ):
            raise NotLeading


def _a_claim(due: DueSlots, slot: datetime) -> Run:
    return Run(
        id=run_id(due.task_id, slot),
        task_id=due.task_id,
        scheduled_for=slot,
        state=RunState.CLAIMED,
    )


def _slot(run: Run) -> datetime:
    return run.scheduled_for
