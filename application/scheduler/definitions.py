"""Definition → queue: reads all definitions once, then changes, and reconciles from time to time."""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from application.ports.definition_feed import Changes, Defined, DefinitionFeed, Mark, Version
from application.ports.leader_lease import Leadership, NotLeading
from application.ports.run_claims import RunClaims
from application.ports.system import Clock
from application.scheduler.background import BackgroundLoop, StoreConnection, in_slices
from application.scheduler.claims import SlotClaimer
from application.scheduler.gc_policy import GcPolicy
from application.scheduler.lease import Lease
from application.scheduler.publishing import ClaimedRun, RunPublisher
from application.scheduler.schedule_queue import ScheduleQueue
from domain.scheduling.slots import PeriodicTaskId

_log = logging.getLogger(__name__)

_MOST_REQUESTED = 500
_MANY_CHANGES = 1000
"""So many new definitions are worth a word to the garbage collector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSettings:
    """How often definitions are polled without a notification."""

    poll: timedelta = timedelta(seconds=5)
    reconcile: timedelta = timedelta(minutes=5)


class DefinitionWatcher(BackgroundLoop):
    """Knows the version of every definition, puts changes into the queue, and records unreadable definitions.

    A poll that fails changes nothing.
    """

    def __init__(
        self,
        feed: DefinitionFeed,
        claims: RunClaims,
        connection: StoreConnection,
        settings: PollSettings,
        *,
        lease: Lease,
        queue: ScheduleQueue,
        claimer: SlotClaimer,
        publisher: RunPublisher,
        clock: Clock,
        monotonic: Callable[[], float],
        gc_policy: GcPolicy,
    ) -> None:
        super().__init__(connection)
        self._feed = feed
        self._claims = claims
        self._settings = settings
        self._lease = lease
        self._queue = queue
        self._claimer = claimer
        self._publisher = publisher
        self._clock = clock
        self._monotonic = monotonic
        self._gc_policy = gc_policy
        self._mark: Mark | None = None
        self._versions: dict[PeriodicTaskId, Version] = {}
        self._recorded_problems: dict[PeriodicTaskId, str] | None = None
        self._reconciled_at = 0.0

    @property
    def is_loaded(self) -> bool:
        """Whether all definitions were read."""
        return self._mark is not None

    async def step(self) -> float | None:
        """Read what changed; do what else the leader does now and then."""
        if self._mark is None:
            await self._load()
        elif self._monotonic() - self._reconciled_at > self._settings.reconcile.total_seconds():
            await self._reconcile(self._mark)
        else:
            await self._poll(self._mark)
        leadership = self._lease.leadership
        if leadership is None:
            self._recorded_problems = None
        else:
            await self._record_problems()
            await self._claim_requested(leadership)
        return self._settings.poll.total_seconds()

    async def _load(self) -> None:
        changes = await self._connection.call(self._feed.load())
        # Slots of the time before the beat came up are missed ones, not those before a definition was read.
        await self._change(changes.defined, (), ready_since=None)
        self._mark = changes.mark
        self._reconciled_at = self._monotonic()
        self._gc_policy.freeze()
        self._lease.campaign.set()
        _log.info("this beat is ready, with %d periodic tasks", len(self._versions))

    async def _poll(self, mark: Mark) -> None:
        changes = await self._connection.call(self._feed.changes(mark))
        await self._change(changes.defined, _deleted(changes), ready_since=self._clock.now())
        self._mark = changes.mark

    async def _reconcile(self, mark: Mark) -> None:
        await self._poll(mark)
        stored = await self._connection.call(self._feed.versions())
        missed = [
            task_id for task_id, version in stored.items() if self._versions.get(task_id) != version
        ]
        gone = self._versions.keys() - stored.keys()
        found = await self._connection.call(self._feed.read(missed)) if missed else ()
        if new := await self._change(found, gone, ready_since=self._clock.now()):
            _log.info("%d periodic tasks had changed unnoticed", new)
        self._reconciled_at = self._monotonic()

    async def _change(
        self,
        defined: Iterable[Defined],
        deleted: Collection[PeriodicTaskId],
        *,
        ready_since: datetime | None,
    ) -> int:
        """Take changes over into the queue; return how many definitions are new to this beat."""
        new = 0
        async with self._queue.changing:
            async for each in in_slices(defined):
                if self._versions.get(each.task.id) != each.version:
                    self._versions[each.task.id] = each.version
                    self._queue.define(each.task, ready_since=ready_since)
                    new += 1
            for task_id in deleted:
                if self._versions.pop(task_id, None) is not None:
                    self._queue.forget(task_id)
        if new >= _MANY_CHANGES:
            self._gc_policy.freeze()
        self._claimer.wake()
        return new

    # --- other work of the leader ---

    async def _record_problems(self) -> None:
        recorded = self._recorded_problems
        if recorded is None:
            recorded = dict(await self._connection.call(self._feed.recorded_problems()))
        problems = dict(self._queue.problems)
        wrong = {
            task_id: problems.get(task_id)
            for task_id in recorded.keys() | problems.keys()
            if recorded.get(task_id) != problems.get(task_id)
        }
        if wrong:
            await self._connection.call(self._feed.record_problems(wrong))
        self._recorded_problems = problems

    async def _claim_requested(self, leadership: Leadership) -> None:
        try:
            runs = await self._connection.call(
                self._claims.claim_requested(leadership, most=_MOST_REQUESTED)
            )
        except NotLeading:
            if self._lease.leadership is leadership:
                self._lease.lose()
            return
        if self._mark is not None and any(run.task_id not in self._versions for run in runs):
            await self._poll(self._mark)  # its task was created a moment ago
        if self._lease.leadership is leadership:
            self._publisher.add(ClaimedRun(run) for run in runs)


def _deleted(changes: Changes) -> Collection[PeriodicTaskId]:
    """Return what is gone. A definition that was deleted and created again with its id exists."""
    return set(changes.deleted) - {each.task.id for each in changes.defined}
