"""The stored runs of periodic tasks: what the API lists, requests and cancels."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.paging import Cursor, Slice
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Filters of a list; all must match."""

    task_id: PeriodicTaskId | None = None
    state: RunState | None = None
    """As it is shown: a run past its deadline has failed or expired (`Run.state_at`)."""


class RunRepository(Protocol):
    """The runs of all tasks, in one unit of work."""

    async def request(self, run: Run) -> None:
        """Store a requested run; the commit notifies the leading beat."""
        ...

    async def slice(
        self, task_id: PeriodicTaskId, *, after: Cursor | None, limit: int
    ) -> Slice[Run]:
        """Return up to `limit` runs of a task, newest first (`scheduled_for`, then `id`), going on after a cursor."""
        ...

    async def search(
        self, criteria: RunFilter, *, at: datetime, after: Cursor | None, limit: int
    ) -> Slice[Run]:
        """Return up to `limit` runs of all tasks as they are at a moment, in the same order."""
        ...

    async def lock(self, run_id: RunId) -> Run:
        """Lock a run until this unit of work ends, and return it; raise `RunNotFound`."""
        ...

    async def save(self, run: Run) -> None:
        """Store the state of a locked run, and when it ended."""
        ...

    async def prune(self, *, before: datetime, limit: int) -> int:
        """Remove up to `limit` runs scheduled for earlier than `before`, and return how many.

        Active runs stay, unless their deadline is before that moment too.
        """
        ...
