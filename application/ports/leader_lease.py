"""Leader election among beats, by a lease in the store."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType, Protocol
from uuid import UUID

BeatId = NewType("BeatId", UUID)


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


class NotLeading(Exception):
    """Another beat leads, or may, or the clock of this one is ahead: nothing was claimed."""


class LeaderLease(Protocol):
    """The lease that one beat at a time holds. All raise `Unavailable`.

    The clock of the store alone measures it, and decides what is the future.
    """

    async def now(self) -> datetime:
        """Return the time by the clock of the store."""
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

    async def status(self) -> SchedulerStatus:
        """Return who leads, and how things are."""
        ...
