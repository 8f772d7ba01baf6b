"""Definition → queue: reads all definitions once, then changes, and reconciles from time to time."""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.ports.definition_feed import Changes, Defined, DefinitionFeed, Mark, Version
from application.ports.leader_lease import Leadership, NotLeading
from application.ports.run_claims import RunClaims
from application.ports.system import Clock
from application.scheduler.background import BackgroundLoop, in_slices
from application.scheduler.claims import SlotClaimer
from application.scheduler.gc_policy import GcPolicy
from application.scheduler.lease import Lease
from application.scheduler.publishing import ClaimedRun, RunPublisher
from application.scheduler.schedule_queue import ScheduleQueue
from domain.scheduling.slots import PeriodicTaskId

_log = logging.getLogger(__name__)

_REQUESTED_BATCH = 500
_MANY_CHANGES = 1000
"""From this many new definitions on, they are excluded from garbage collection."""


@dataclass(kw_only=True, eq=False)
class DefinitionWatcher(BackgroundLoop):
    """Knows the version of every definition, puts changes into the queue, and records unreadable definitions.

    A poll that fails changes nothing.
    """

    feed: DefinitionFeed
    claims: RunClaims
    lease: Lease
    queue: ScheduleQueue
    claimer: SlotClaimer
    publisher: RunPublisher
    clock: Clock
    monotonic: Callable[[], float]
    gc_policy: GcPolicy
    poll: timedelta
    reconcile: timedelta
    _mark: Mark | None = field(default=None, init=False)
    _versions: dict[PeriodicTaskId, Version] = field(
        default_factory=dict[PeriodicTaskId, Version], init=False
    )
    _recorded_problems: dict[PeriodicTaskId, str] | None = field(default=None, init=False)
    _reconciled_at: float = field(default=0.0, init=False)

    @property
    def is_loaded(self) -> bool:
        """Whether all definitions were read."""
        return self._mark is not None

    async def step(self) -> float | None:
        """Read what changed; do what else the leader does now and then."""
        if self._mark is None:
            await self._load()
        elif self.monotonic() - self._reconciled_at > self.reconcile.total_seconds():
            await self._reconcile(self._mark)
        else:
            await self._poll(self._mark)
        leadership = self.lease.leadership
        if leadership is None:
            self._recorded_problems = None
        else:
            await self._record_problems()
            await self._claim_requested(leadership)
        return self.poll.total_seconds()

    async def _load(self) -> None:
        changes = await self.connection.call(self.feed.load())
        # Slots of the time before the beat came up are missed ones, not those before a definition was read.
        await self._change(changes.defined, (), ready_since=None)
        self._mark = changes.mark
        self._reconciled_at = self.monotonic()
        self.gc_policy.freeze()
        self.lease.acquire_now.set()
        _log.info("this beat is ready, with %d periodic tasks", len(self._versions))

    async def _poll(self, mark: Mark) -> None:
        changes = await self.connection.call(self.feed.changes(mark))
        await self._change(changes.defined, _deleted(changes), ready_since=self.clock.now())
        self._mark = changes.mark

    async def _reconcile(self, mark: Mark) -> None:
        await self._poll(mark)
        stored = await self.connection.call(self.feed.versions())
        missed = [
            task_id for task_id, version in stored.items() if self._versions.get(task_id) != version
        ]
        gone = self._versions.keys() - stored.keys()
        found = await self.connection.call(self.feed.read(missed)) if missed else ()
        if new := await self._change(found, gone, ready_since=self.clock.now()):
            _log.info("%d periodic tasks had changed unnoticed", new)
        self._reconciled_at = self.monotonic()

    async def _change(
        self,
        defined: Iterable[Defined],
        deleted: Collection[PeriodicTaskId],
        *,
        ready_since: datetime | None,
    ) -> int:
        """Take changes over into the queue; return how many definitions are new to this beat."""
        new = 0
        async with self.queue.changing:
            async for each in in_slices(defined):
                if self._versions.get(each.task.id) != each.version:
                    self._versions[each.task.id] = each.version
                    self.queue.define(each.task, ready_since=ready_since)
                    new += 1
            for task_id in deleted:
                if self._versions.pop(task_id, None) is not None:
                    self.queue.forget(task_id)
        if new >= _MANY_CHANGES:
            self.gc_policy.freeze()
        self.claimer.wake()
        return new

    # --- other work of the leader ---

    async def _record_problems(self) -> None:
        recorded = self._recorded_problems
        if recorded is None:
            recorded = dict(await self.connection.call(self.feed.recorded_problems()))
        problems = dict(self.queue.problems)
        wrong = {
            task_id: problems.get(task_id)
            for task_id in recorded.keys() | problems.keys()
            if recorded.get(task_id) != problems.get(task_id)
        }
        if wrong:
            await self.connection.call(self.feed.record_problems(wrong))
        self._recorded_problems = problems

    async def _claim_requested(self, leadership: Leadership) -> None:
        try:
            runs = await self.connection.call(
                self.claims.claim_requested(leadership, limit=_REQUESTED_BATCH)
            )
        except NotLeading:
            if self.lease.leadership is leadership:
                self.lease.lose()
            return
        if self._mark is not None and any(run.task_id not in self._versions for run in runs):
            await self._poll(self._mark)  # its task was created a moment ago
        if self.lease.leadership is leadership:
            self.publisher.add(ClaimedRun(run) for run in runs)


def _deleted(changes: Changes) -> Collection[PeriodicTaskId]:
    """Return what is gone. A definition that was deleted and created again with its id exists."""
    return set(changes.deleted) - {each.task.id for each in changes.defined}
