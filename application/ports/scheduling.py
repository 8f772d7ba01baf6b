"""What the beat and the workers need from the store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType, Protocol
from uuid import UUID

from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId

BeatId = NewType("BeatId", UUID)

Version = NewType("Version", int)
"""Of a stored definition: another one after every change of it, whoever made it."""

Mark = NewType("Mark", int)
"""A point in the history of definitions: what was committed before it has been seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defined:
    """A stored definition, valid or not."""

    task: PeriodicTask | UnreadableTask
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What happened to definitions since a mark. What was seen before may come again, under the same version."""

    defined: Sequence[Defined]
    deleted: Collection[PeriodicTaskId]
    mark: Mark
    """Where to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leadership:
    """The right of one beat to claim slots, until another one has it."""

    beat: BeatId
    epoch: int
    """Grows by one each time that another beat, or the same one after a pause, begins to lead."""


CLOCK_TOLERANCE = timedelta(seconds=5)
"""How far the clock of a beat may be from that of the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingProblem:
    """Messages do not get out."""

    since: datetime
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatReport:
    """What a beat tells those who ask how things are."""

    name: str
    """Host and process."""
    problem: str | None = None
    """Why it does not lead, though nobody else does."""
    publishing: PublishingProblem | None = None
    """Why it publishes nothing."""
    next_slot: datetime | None = None
    lag: timedelta = timedelta(0)
    """How late the latest runs were published."""
    tasks: int = 0
    unpublished: int = 0
    """Claimed runs that the broker has not taken yet."""
    time_zones: str = ""
    """The version of its time zone database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStatus:
    """Who leads, and how things are."""

    report: BeatReport | None
    """What the last leader told, or since then a beat that says why it does not lead; None if there never was one."""
    epoch: int
    leads: bool
    """Whether the lease is not over, by the clock of the store."""
    leads_until: datetime | None
    """The end of the lease unless it is renewed."""
    invalid: int
    """How many definitions no beat can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSlots:
    """The due slots of one task, oldest first, and until when its slots are handled afterwards."""

    task_id: PeriodicTaskId
    slots: Sequence[datetime]
    handled_until: datetime
    max_running: int | None = None
    waits_when_full: bool = False
    """Whether slots beyond `max_running` stay due: then `handled_until` ends before the first of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The message of a run is with the broker."""

    run_id: RunId
    at: datetime
    deadline: datetime | None
    """When the message expires."""


class NotLeading(Exception):
    """Another beat leads, or may, or the clock of this one is ahead: nothing was claimed."""


class BeatStore(Protocol):
    """The definitions, schedule states and runs as a beat sees them. Everything raises `Unavailable`.

    Definitions are read, never written. Each method is one transaction of its own. The lease is measured by the clock
    of the store alone, which also decides what is the future.
    """

    async def now(self) -> datetime:
        """Return the time by the clock of the store."""
        ...

    async def load(self) -> Changes:
        """Return every definition and the mark to go on from."""
        ...

    async def changes(self, since: Mark) -> Changes:
        """Return what was committed since a mark, at the cost of the changes alone.

        Nothing is missed: not what a transaction wrote that began before the mark and committed after it, not what
        was written in bulk or by hand, not what was written by a clock that is wrong.
        """
        ...

    async def versions(self) -> Mapping[PeriodicTaskId, Version]:
        """Return the version of every definition: what a beat compares with what it knows, now and then."""
        ...

    async def read(self, ids: Collection[PeriodicTaskId]) -> Sequence[Defined]:
        """Return those definitions that exist."""
        ...

    async def schedule_states(
        self, ids: Collection[PeriodicTaskId] | None = None
    ) -> Mapping[PeriodicTaskId, ScheduleState]:
        """Return the schedule states of these tasks (None: all), those of the configuration included."""
        ...

    async def changed(self) -> None:
        """Return as soon as a definition changes, a run is asked for, or a leader hands over.

        A hint that may come for nothing, or not at all while the store is away: ask `changes` now and then besides.
        """
        ...

    async def lead(
        self, beat: BeatId, *, lease: timedelta, report: BeatReport
    ) -> Leadership | None:
        """Begin to lead, or go on, for the time of a lease; None if another beat leads.

        The epoch stays the same only if nobody else can have led meanwhile.
        """
        ...

    async def report_standby(self, beat: BeatId, report: BeatReport) -> None:
        """Report why this beat does not lead. Changes nothing while another beat leads."""
        ...

    async def release(self, leadership: Leadership) -> None:
        """Give up the lease; the other beats are notified at once."""
        ...

    async def reset_future_states(self) -> Collection[PeriodicTaskId]:
        """Set `handled_until` back to now if it is ahead by more than `CLOCK_TOLERANCE`; return those tasks.

        A beat whose clock was ahead has left them like that: until then they would not run.
        """
        ...

    async def claim(self, leadership: Leadership, due_slots: Sequence[DueSlots]) -> Sequence[Run]:
        """Make runs of the slots that nobody has claimed before, store `handled_until`, and return those runs.

        All or nothing, in one statement. Slots beyond `max_running` become `SKIPPED` runs, which are not returned;
        those of a task that `waits_when_full` stay due.
        `handled_until` never goes back and is stored even without slots; each run is counted once. If it is more
        than `CLOCK_TOLERANCE` ahead of the store's clock, raise `NotLeading`.

        If the answer gets lost, ask again: runs that the same leadership has claimed and not recorded as published are
        returned once more. Raise `NotLeading`.
        """
        ...

    async def claim_requested(self, leadership: Leadership, *, most: int) -> Sequence[Run]:
        """Claim runs that somebody asked for, oldest first. Raise `NotLeading`.

        Those that the same leadership has claimed and not recorded as published are returned once more.
        """
        ...

    async def claim_abandoned(self, leadership: Leadership) -> Sequence[Run]:
        """Take over every run that any leader, this one included, claimed and did not record as published.

        For the one who begins to lead and has nothing in hand. Raise `NotLeading`.
        """
        ...

    async def record_published(self, runs: Sequence[Published]) -> None:
        """Record that messages are with the broker; a worker may have begun them already."""
        ...

    async def record_failed(self, runs: Sequence["Finished"]) -> None:
        """Record that claimed runs ended before they began: their messages cannot be published, now or ever."""
        ...

    async def record_unclaimed(
        self, due_slots: Sequence[DueSlots], published: Sequence[Published]
    ) -> None:
        """Store what was published while the store was away: runs that are missing, and schedule states.

        `handled_until` is never later than now.
        """
        ...

    async def record_problems(self, problems: Mapping[PeriodicTaskId, str | None]) -> None:
        """Record why definitions cannot be read, or (None) that they can."""
        ...

    async def recorded_problems(self) -> Mapping[PeriodicTaskId, str]:
        """Return the recorded problems by definition."""
        ...

    async def status(self) -> SchedulerStatus:
        """Return who leads, and how things are."""
        ...


# --- what a worker does --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A worker begins a run. What identifies it came with the message."""

    run_id: RunId
    task_id: PeriodicTaskId
    scheduled_for: datetime
    at: datetime
    worker: str
    deadline: datetime | None = None
    """When its time is up, even if nobody says that it has ended."""
    again: bool = False
    """Whether it may have begun before: a retry, or a message that came back because its worker died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A worker has ended a run."""

    run_id: RunId
    at: datetime
    error: str | None = None
    """What it raised, or None if it succeeded."""


class RunLog(Protocol):
    """Where workers record the outcome of runs. Everything raises `Unavailable`."""

    async def begin(self, begun: Begun) -> bool:
        """Record that a run begins; return False, and change nothing, if it may not (`Run.may_begin`).

        Nothing of a deleted task begins, not even another attempt.
        """
        ...

    async def finish(self, runs: Sequence[Finished]) -> None:
        """Record how runs have ended, in one statement.

        Several may tell of the same end, in any order: a success stays, and so does the first failure unless another
        attempt has succeeded or begun.
        """
        ...
