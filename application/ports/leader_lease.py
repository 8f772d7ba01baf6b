"""Leader election among beats, by a lease in the database."""

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
"""How far the clock of a beat may be from that of the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingProblem:
    """Why no messages are published."""

    since: datetime
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatReport:
    """The report of a beat to operators."""

    name: str
    """Host and process."""
    problem: str | None = None
    """Why it cannot lead."""
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
    """The leader, its lease, and its last report."""

    report: BeatReport | None
    """The last report of the last leader, or a later one of a beat that cannot lead; None if there was none yet."""
    epoch: int
    leads: bool
    """Whether the lease is valid, by the clock of the database."""
    leads_until: datetime | None
    """The end of the lease unless it is renewed."""
    invalid: int
    """How many definitions no beat can read."""

    @property
    def publishing_problem(self) -> PublishingProblem | None:
        """Why the leader publishes nothing; None if it publishes, or if no beat leads."""
        return self.report.publishing if self.report and self.leads else None


class NotLeading(Exception):
    """Nothing was claimed: another beat leads or may lead, or the clock of this one is ahead."""


class LeaderLease(Protocol):
    """The lease that one beat at a time holds. All raise `Unavailable`.

    The clock of the database alone measures it, and decides what is the future.
    """

    async def now(self) -> datetime:
        """Return the time by the clock of the database."""
        ...

    async def lead(
        self, beat: BeatId, *, lease: timedelta, report: BeatReport
    ) -> Leadership | None:
        """Acquire or renew the lease for this time; return None if another beat holds it.

        The epoch stays the same only if no other beat can have led in between.
        """
        ...

    async def report_standby(self, beat: BeatId, report: BeatReport) -> None:
        """Report why this beat does not lead. Changes nothing while another beat leads."""
        ...

    async def release(self, leadership: Leadership) -> None:
        """Release the lease; the other beats are notified at once."""
        ...

    async def status(self) -> SchedulerStatus:
        """Return the leader, its lease, and its last report."""
        ...
