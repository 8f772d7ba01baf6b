"""Leader election: the leader renews its lease, the others wait for its end. A beat with a problem does not lead."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from application.ports.leader_lease import (
    CLOCK_TOLERANCE,
    BeatId,
    BeatReport,
    LeaderLease,
    Leadership,
    NotLeading,
)
from application.ports.system import Clock
from application.scheduler.background import RETRY_AFTER, BackgroundLoop
from application.scheduler.claims import SlotClaimer
from application.scheduler.definitions import DefinitionWatcher
from application.scheduler.lease import Lease
from application.scheduler.publishing import RunPublisher
from application.scheduler.schedule_queue import ScheduleQueue
from domain.errors import Unavailable
from domain.scheduling.zones import zone_rules_version

_log = logging.getLogger(__name__)

_STANDBY_PAUSE = 1.0
"""Seconds between two attempts of a standby to acquire the lease: a dead leader is replaced this soon."""
_YIELD_AFTER_OUTAGE = 2.0
"""Seconds that a standby waits after an outage, so that the former leader goes first."""


@dataclass(kw_only=True, eq=False)
class LeaderElection(BackgroundLoop):
    """Acquires the lease when it is free, and renews it as long as possible."""

    leases: LeaderLease
    beat: BeatId
    name: str
    lease: Lease
    watcher: DefinitionWatcher
    queue: ScheduleQueue
    claimer: SlotClaimer
    publisher: RunPublisher
    clock: Clock
    monotonic: Callable[[], float]
    stands_by: bool = field(default=False, init=False)
    """Whether this beat could lead, and was just told that another one does. Any thread may read it."""
    _had_no_answer: bool = field(default=False, init=False)
    _problem: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.woken = self.lease.acquire_now

    def report(self) -> BeatReport:
        """Return what this beat tells operators; any thread may call this."""
        leads = self.lease.leadership is not None
        return BeatReport(
            name=self.name,
            problem=self.publisher.stall,
            publishing=self.publisher.health.problem,
            next_slot=self.queue.next_due_at,
            lag=self.publisher.lag,
            tasks=len(self.queue),
            unpublished=self.publisher.pending if leads else 0,
            time_zones=zone_rules_version(),
        )

    async def step(self) -> float | None:
        """Acquire the lease, or renew it; return the seconds until that is to be done again."""
        if not self.watcher.is_loaded:
            return None  # only a beat that is ready should lead
        if self._had_no_answer and self.lease.leadership is None:
            # The former leader may have published runs that the database does not know yet.
            await self.connection.call(self.leases.status())
            self._had_no_answer = False
            return _YIELD_AFTER_OUTAGE
        try:
            return await self._try_to_lead()
        except Unavailable:
            self._had_no_answer, self.stands_by = True, False
            return RETRY_AFTER

    async def _try_to_lead(self) -> float:
        report = await self._examine()
        if report.problem is not None:
            await self._stand_by(report)
            return _STANDBY_PAUSE
        asked_at = self.monotonic()
        leadership = await self.connection.call(
            self.leases.lead(self.beat, lease=self.lease.length, report=report)
        )
        self._had_no_answer, self.stands_by = False, leadership is None
        third = self.lease.length.total_seconds() / 3
        if leadership is not None and await self._extend_or_take_over(leadership, asked_at):
            return third
        self.lease.lose()
        return min(_STANDBY_PAUSE, third)

    async def _extend_or_take_over(self, leadership: Leadership, asked_at: float) -> bool:
        """Extend the lease; take over first if it is a new one. Return False if it is lost meanwhile."""
        if leadership == self.lease.leadership:
            self.lease.extend(leadership, asked_at=asked_at)
            return True
        self.lease.lose()
        try:
            await self.claimer.take_over(leadership)
        except NotLeading:
            return False
        _log.info("this beat leads (epoch %d)", leadership.epoch)
        self.lease.extend(leadership, asked_at=asked_at)
        for background_loop in (self.claimer, self.publisher, self.watcher):
            background_loop.wake()
        return True

    async def _examine(self) -> BeatReport:
        """Return the report of this beat: it may lead only if it works and its clock is right."""
        report = self.report()
        if report.problem is None:
            ahead = await self._ahead()
            if abs(ahead) > CLOCK_TOLERANCE:
                direction = "ahead of" if ahead > timedelta(0) else "behind"
                problem = f"its clock is {abs(ahead)} {direction} that of the database"
                report = replace(report, problem=problem)
        if report.problem is None:
            self._problem = None
        return report

    async def _ahead(self) -> timedelta:
        """Return how far the clock is certainly ahead (negative: behind).

        Zero if the database's time lies between the two readings.
        """
        before = self.clock.now()
        database_time = await self.connection.call(self.leases.now())
        after = self.clock.now()
        if database_time < before:
            return before - database_time
        return min(after - database_time, timedelta(0))

    async def _stand_by(self, report: BeatReport) -> None:
        """Release the lease, and report why."""
        self.stands_by = False
        if self._problem is None:
            _log.error("this beat cannot lead: %s", report.problem)
            self._problem = report.problem
        leadership = self.lease.leadership
        if leadership is not None:
            self.lease.lose()
            await self.connection.call(self.leases.release(leadership))
        await self.connection.call(self.leases.report_standby(self.beat, report))
