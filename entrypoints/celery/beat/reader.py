"""Reading definitions: everything once, then what changes, and now and then whether something was missed."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from application.ports.scheduling import (
    BeatStore,
    Changes,
    Defined,
    Leadership,
    Mark,
    NotLeading,
    Version,
)
from domain.scheduling.runs import Run
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.tasks import PeriodicTask, UnreadableTask
from entrypoints.celery.beat.clerk import Clerk, Contact
from entrypoints.celery.beat.lease import Lease
from entrypoints.celery.beat.news import Changed, Loaded

_log = logging.getLogger(__name__)

_MOST_REQUESTED = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How often the reader looks without having been told to."""

    poll: timedelta = timedelta(seconds=5)
    reconcile: timedelta = timedelta(minutes=5)


class Reader(Clerk):
    """Knows the version of every definition, tells the main thread what is new, and flags what nobody can read.

    A look that fails changes nothing: what is known stays known.
    """

    def __init__(
        self,
        store: BeatStore,
        contact: Contact,
        lease: Lease,
        rhythm: Rhythm,
        *,
        monotonic: Callable[[], float],
        tell: Callable[[Loaded | Changed], None],
        grant: Callable[[list[Run]], None],
        deposed: Callable[[], None],
        loaded: Callable[[], None],
        problems: Mapping[PeriodicTaskId, str],
    ) -> None:
        super().__init__(contact)
        self._store = store
        self._lease = lease
        self._rhythm = rhythm
        self._monotonic = monotonic
        self._tell = tell
        self._grant = grant
        self._deposed = deposed
        self._loaded = loaded
        self._mark: Mark | None = None
        self._versions: dict[PeriodicTaskId, Version] = {}
        self._problems = dict(problems)
        self._flagged: dict[PeriodicTaskId, str] | None = None
        self._reconciled_at = 0.0

    @property
    def is_loaded(self) -> bool:
        """Whether everything was read once."""
        return self._mark is not None

    def report(self, task_id: PeriodicTaskId, problem: str) -> None:
        """Take on that a definition that could be read cannot be scheduled."""
        self._problems[task_id] = problem
        self.wake()

    async def step(self) -> float | None:
        if self._mark is None:
            await self._load()
        elif self._monotonic() - self._reconciled_at > self._rhythm.reconcile.total_seconds():
            await self._reconcile()
        else:
            await self._look()
        if (leadership := self._lease.leadership) is not None:
            await self._flag()
            await self._take_requests(leadership)
        else:
            self._flagged = None
        return self._rhythm.poll.total_seconds()

    # --- definitions ---

    async def _load(self) -> None:
        changes = await self._contact.ask(self._store.load())
        self._tell(Loaded(self._new(changes.defined)))
        self._mark = changes.mark
        self._reconciled_at = self._monotonic()
        self._loaded()
        _log.info("this beat is ready, with %d periodic tasks", len(self._versions))

    async def _look(self) -> None:
        if self._mark is not None:
            changes = await self._contact.ask(self._store.changes(self._mark))
            self._tell_changes(changes)
            self._mark = changes.mark

    async def _reconcile(self) -> None:
        await self._look()
        stored = await self._contact.ask(self._store.versions())
        missed = [
            task_id for task_id, version in stored.items() if self._versions.get(task_id) != version
        ]
        gone = self._versions.keys() - stored.keys()
        found = await self._contact.ask(self._store.read(missed)) if missed else ()
        if new := self._new(found):
            _log.info("%d periodic tasks had changed unnoticed", len(new))
        self._change(new, gone)
        self._reconciled_at = self._monotonic()

    def _tell_changes(self, changes: Changes) -> None:
        new = self._new(changes.defined)
        # One that was removed and put in again, with its id, is there.
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
            self._tell(Changed(new, deleted))

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

    # --- what the leader does besides ---

    async def _flag(self) -> None:
        if self._flagged is None:
            self._flagged = dict(await self._contact.ask(self._store.recorded_problems()))
        wrong = {
            task_id: self._problems.get(task_id)
            for task_id in self._flagged.keys() | self._problems.keys()
            if self._flagged.get(task_id) != self._problems.get(task_id)
        }
        if wrong:
            await self._contact.ask(self._store.record_problems(wrong))
            self._flagged = dict(self._problems)

    async def _take_requests(self, leadership: Leadership) -> None:
        try:
            runs = await self._contact.ask(
                self._store.claim_requested(leadership, most=_MOST_REQUESTED)
            )
        except NotLeading:
            self._deposed()
            return
        if any(run.task_id not in self._versions for run in runs):
            await self._look()  # its task was made a moment ago
        if self._lease.leadership == leadership:
            self._grant(list(runs))
