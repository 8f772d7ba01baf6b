"""Reads all definitions once, then changes, and reconciles from time to time."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from application.ports.definition_feed import Changes, Defined, DefinitionFeed, Mark, Version
from application.ports.leader_lease import Leadership, NotLeading
from application.ports.run_claims import RunClaims
from application.scheduler.background import BackgroundLoop, StoreConnection
from application.scheduler.lease import Lease
from application.scheduler.updates import Changed, Loaded
from domain.scheduling.periodic_tasks import PeriodicTask, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run

_log = logging.getLogger(__name__)

_MOST_REQUESTED = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSettings:
    """How often definitions are polled without a notification."""

    poll: timedelta = timedelta(seconds=5)
    reconcile: timedelta = timedelta(minutes=5)


class DefinitionWatcher(BackgroundLoop):
    """Knows the version of every definition, sends changes to the main thread, and records unreadable definitions.

    A poll that fails changes nothing.
    """

    def __init__(
        self,
        feed: DefinitionFeed,
        claims: RunClaims,
        connection: StoreConnection,
        lease: Lease,
        settings: PollSettings,
        *,
        monotonic: Callable[[], float],
        send: Callable[[Loaded | Changed], None],
        deliver: Callable[[list[Run]], None],
        leadership_lost: Callable[[], None],
        loaded: Callable[[], None],
        problems: Mapping[PeriodicTaskId, str],
    ) -> None:
        super().__init__(connection)
        self._feed = feed
        self._claims = claims
        self._lease = lease
        self._settings = settings
        self._monotonic = monotonic
        self._send = send
        self._deliver = deliver
        self._leadership_lost = leadership_lost
        self._loaded = loaded
        self._mark: Mark | None = None
        self._versions: dict[PeriodicTaskId, Version] = {}
        self._problems = dict(problems)
        self._flagged: dict[PeriodicTaskId, str] | None = None
        self._reconciled_at = 0.0

    @property
    def is_loaded(self) -> bool:
        """Whether all definitions were read."""
        return self._mark is not None

    def report(self, task_id: PeriodicTaskId, problem: str) -> None:
        """Record that a readable definition cannot be scheduled."""
        self._problems[task_id] = problem
        self.wake()

    async def step(self) -> float | None:
        """Read what changed; do what else the leader does now and then."""
        if self._mark is None:
            await self._load()
        elif self._monotonic() - self._reconciled_at > self._settings.reconcile.total_seconds():
            await self._reconcile()
        else:
            await self._poll()
        if (leadership := self._lease.leadership) is not None:
            await self._flag()
            await self._take_requests(leadership)
        else:
            self._flagged = None
        return self._settings.poll.total_seconds()

    # --- definitions ---

    async def _load(self) -> None:
        changes = await self._connection.call(self._feed.load())
        self._send(Loaded(self._new(changes.defined)))
        self._mark = changes.mark
        self._reconciled_at = self._monotonic()
        self._loaded()
        _log.info("this beat is ready, with %d periodic tasks", len(self._versions))

    async def _poll(self) -> None:
        if self._mark is not None:
            changes = await self._connection.call(self._feed.changes(self._mark))
            self._apply_changes(changes)
            self._mark = changes.mark

    async def _reconcile(self) -> None:
        await self._poll()
        stored = await self._connection.call(self._feed.versions())
        missed = [
            task_id for task_id, version in stored.items() if self._versions.get(task_id) != version
        ]
        gone = self._versions.keys() - stored.keys()
        found = await self._connection.call(self._feed.read(missed)) if missed else ()
        if new := self._new(found):
            _log.info("%d periodic tasks had changed unnoticed", len(new))
        self._change(new, gone)
        self._reconciled_at = self._monotonic()

    def _apply_changes(self, changes: Changes) -> None:
        new = self._new(changes.defined)
        # A definition that was deleted and created again with its id exists.
        there = {each.task.id for each in changes.defined}
        gone = [each for each in changes.deleted if each in self._versions and each not in there]
        self._change(new, gone)

    def _change(
        self, new: list[PeriodicTask | UnreadableTask], gone: Iterable[PeriodicTaskId]
    ) -> None:
        deleted = list(gone)
        for task_id in deleted:
            del self._versions[task_id]
            self._problems.pop(task_id, None)
        if new or deleted:
            self._send(Changed(new, deleted))

    def _new(self, defined: Iterable[Defined]) -> list[PeriodicTask | UnreadableTask]:
        new: list[PeriodicTask | UnreadableTask] = []
        for each in defined:
            task = each.task
            if self._versions.get(task.id) != each.version:
                self._versions[task.id] = each.version
                new.append(task)
                if isinstance(task, UnreadableTask):
                    self._problems[task.id] = task.reason
                elif task.id in self._problems:
                    del self._problems[task.id]
        return new

    # --- other work of the leader ---

    async def _flag(self) -> None:
        if self._flagged is None:
            self._flagged = dict(await self._connection.call(self._feed.recorded_problems()))
        wrong = {
            task_id: self._problems.get(task_id)
            for task_id in self._flagged.keys() | self._problems.keys()
            if self._flagged.get(task_id) != self._problems.get(task_id)
        }
        if wrong:
            await self._connection.call(self._feed.record_problems(wrong))
            self._flagged = dict(self._problems)

    async def _take_requests(self, leadership: Leadership) -> None:
        try:
            runs = await self._connection.call(
                self._claims.claim_requested(leadership, most=_MOST_REQUESTED)
            )
        except NotLeading:
            self._leadership_lost()
            return
        if any(run.task_id not in self._versions for run in runs):
            await self._poll()  # its task was created a moment ago
        if self._lease.leadership == leadership:
            self._deliver(list(runs))
