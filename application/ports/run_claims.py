"""Runs as the beat sees them: it claims due slots as runs, and records their outcomes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.ports.leader_lease import Leadership
from application.ports.run_log import Finished
from domain.scheduling.periodic_tasks import ScheduleState
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSlots:
    """The due slots of one task, oldest first, and until when its slots are handled once these are claimed."""

    task_id: PeriodicTaskId
    slots: Sequence[datetime]
    handled_until: datetime
    max_running: int | None = None
    waits_when_full: bool = False
    """Whether slots beyond `max_running` stay due: then `handled_until` ends before the first of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The broker has the message of a run."""

    run_id: RunId
    at: datetime
    deadline: datetime | None
    """When the message expires."""


class RunClaims(Protocol):
    """Schedule states and runs. Each method is one transaction. All raise `Unavailable`."""

    async def schedule_states(
        self, ids: Collection[PeriodicTaskId] | None = None
    ) -> Mapping[PeriodicTaskId, ScheduleState]:
        """Return the schedule states of these tasks (None: all), those of the configuration included."""
        ...

    async def reset_future_states(self) -> Collection[PeriodicTaskId]:
        """Set `handled_until` back to now if it is ahead by more than `CLOCK_TOLERANCE`; return those tasks.

        A beat whose clock was ahead may have stored them: those tasks would not run until then.
        """
        ...

    async def claim(self, leadership: Leadership, due_slots: Sequence[DueSlots]) -> Sequence[Run]:
        """Turn slots that are not claimed yet into runs, store `handled_until`, and return those runs.

        All or nothing, in one statement. Slots beyond `max_running` become `SKIPPED` runs, which are not returned;
        those of a task that `waits_when_full` stay due.
        `handled_until` never goes back and is stored even without slots; each run is counted once. If it is more
        than `CLOCK_TOLERANCE` ahead of the database's clock, raise `NotLeading`.

        If the answer is lost, call again: runs that the same leadership has claimed and not recorded as published are
        returned once more. Raise `NotLeading`.
        """
        ...

    async def claim_requested(self, leadership: Leadership, *, limit: int) -> Sequence[Run]:
        """Claim runs that users requested, oldest first. Raise `NotLeading`.

        Return again those that the same leadership has claimed and not recorded as published.
        """
        ...

    async def claim_abandoned(self, leadership: Leadership) -> Sequence[Run]:
        """Take over every run that any leader, this one included, claimed and did not record as published.

        For a new leader, which has no claimed runs yet. Raise `NotLeading`.
        """
        ...

    async def record_published(self, runs: Sequence[Published]) -> None:
        """Record that the broker has the messages; a worker may have begun the runs already."""
        ...

    async def record_failed(self, runs: Sequence[Finished]) -> None:
        """Record that claimed runs ended before they began: their messages cannot be published, now or ever."""
        ...

    async def record_published_offline(
        self, due_slots: Sequence[DueSlots], published: Sequence[Published]
    ) -> None:
        """Store what was published while the database was away: runs that are missing, and schedule states.

        `handled_until` is never later than now.
        """
        ...
