"""Leader election: the leader renews its lease, the others wait for its end. A beat with a problem does not lead."""

import logging
from collections.abc import Callable
from dataclasses import replace
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
from application.scheduler.background import RETRY_AFTER, BackgroundLoop, StoreConnection
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


class LeaderElection(BackgroundLoop):
    """Acquires the lease when nobody holds it, and renews it as long as possible."""

    def __init__(
        self,
        leases: LeaderLease,
        connection: StoreConnection,
        *,
        beat: BeatId,
        name: str,
        lease: Lease,
        watcher: DefinitionWatcher,
        queue: ScheduleQueue,
        claimer: SlotClaimer,
        publisher: RunPublisher,
        clock: Clock,
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(connection)
        self._woken = lease.campaign
        self._leases = leases
        self._beat = beat
        self._name = name
        self._lease = lease
        self._watcher = watcher
        self._queue = queue
        self._claimer = claimer
        self._publisher = publisher
        self._clock = clock
        self._monotonic = monotonic
        self._had_no_answer = False
        self._problem: str | None = None

    def report(self) -> BeatReport:
        """Return what this beat tells operators; any thread may call this."""
        leads = self._lease.leadership is not None
        return BeatReport(
            name=self._name,
            problem=self._publisher.stall,
            publishing=self._publisher.health.problem,
            next_slot=self._queue.next_due_at,
            lag=self._publisher.lag,
            tasks=len(self._queue),
            unpublished=self._publisher.pending if leads else 0,
            time_zones=zone_rules_version(),
        )

    async def step(self) -> float | None:
        """Acquire the lease, or renew it; return the seconds until that is to be done again."""
        if not self._watcher.is_loaded:
            return None  # only a beat that is ready should lead
        if self._had_no_answer and self._lease.leadership is None:
            # The former leader may have published runs that the store does not know yet.
            await self._connection.call(self._leases.status())
            self._had_no_answer = False
            return _YIELD_AFTER_OUTAGE
        try:
            return await self._campaign()
        except Unavailable:
            self._had_no_answer = True
            return RETRY_AFTER

    async def _campaign(self) -> float:
        report = await self._examine()
        if report.problem is not None:
            await self._stand_by(report)
            return _STANDBY_PAUSE
        asked_at = self._monotonic()
        leadership = await self._connection.call(
            self._leases.lead(self._beat, lease=self._lease.length, report=report)
        )
        self._had_no_answer = False
        third = self._lease.length.total_seconds() / 3
        if leadership is not None and await self._leads(leadership, asked_at):
            return third
        self._lease.lose()
        return min(_STANDBY_PAUSE, third)

    async def _leads(self, leadership: Leadership, asked_at: float) -> bool:
        """Extend the lease; take over first if it is a new one. Return False if it is lost meanwhile."""
        if leadership == self._lease.leadership:
            self._lease.extend(leadership, asked_at=asked_at)
            return True
        self._lease.lose()
        try:
            await self._claimer.take_over(leadership)
        except NotLeading:
            return False
        _log.info("this beat leads (epoch %d)", leadership.epoch)
        self._lease.extend(leadership, asked_at=asked_at)
        for background_loop in (self._claimer, self._publisher, self._watcher):
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
        """Return by how much the clock is ahead of the store's, at least: nothing if the answer came in between."""
        before = self._clock.now()
        store_time = await self._connection.call(self._leases.now())
        after = self._clock.now()
        if store_time < before:
            return before - store_time
        return min(after - store_time, timedelta(0))

    async def _stand_by(self, report: BeatReport) -> None:
        """Release the lease, and report why."""
        if self._problem is None:
            _log.error("this beat cannot lead: %s", report.problem)
            self._problem = report.problem
        leadership = self._lease.leadership
        if leadership is not None:
            self._lease.lose()
            await self._connection.call(self._leases.release(leadership))
        await self._connection.call(self._leases.report_standby(self._beat, report))
