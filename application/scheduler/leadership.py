"""Leader election: the leader renews its lease, the others wait for its end. A beat with a problem does not lead."""

import logging
from collections.abc import Callable, Sequence
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
from application.ports.run_claims import RunClaims
from application.ports.system import Clock
from application.scheduler.background import RETRY_AFTER, BackgroundLoop, StoreConnection
from application.scheduler.definitions import DefinitionWatcher
from application.scheduler.lease import Lease
from application.scheduler.outcomes import OutcomeRecorder
from application.scheduler.updates import LeadershipGained
from domain.errors import Unavailable
from domain.scheduling.task_runs import Run

_log = logging.getLogger(__name__)

STANDBY_PAUSE = 1.0
"""Seconds between two attempts of a standby to acquire the lease: a dead leader is replaced this soon."""
_MOST_NAMED = 10
YIELD_AFTER_OUTAGE = 2.0
"""Seconds that a standby waits after an outage, so that the former leader goes first."""


class LeaderElection(BackgroundLoop):
    """Acquires the lease when nobody holds it, and renews it as long as possible."""

    def __init__(
        self,
        leases: LeaderLease,
        claims: RunClaims,
        connection: StoreConnection,
        lease: Lease,
        beat: BeatId,
        *,
        watcher: DefinitionWatcher,
        recorder: OutcomeRecorder,
        clock: Clock,
        monotonic: Callable[[], float],
        report: Callable[[], BeatReport],
        send: Callable[[LeadershipGained], None],
        deliver: Callable[[Sequence[Run]], None],
        leadership_lost: Callable[[], None],
    ) -> None:
        super().__init__(connection)
        self._leases = leases
        self._claims = claims
        self._lease = lease
        self._beat = beat
        self._watcher = watcher
        self._recorder = recorder
        self._clock = clock
        self._monotonic = monotonic
        self._report = report
        self._send = send
        self._deliver = deliver
        self._leadership_lost = leadership_lost
        self._had_no_answer = False
        self._problem: str | None = None

    async def step(self) -> float | None:
        """Acquire the lease, or renew it."""
        if not self._watcher.is_loaded:
            return None  # only a beat that is ready should lead
        if self._had_no_answer and self._lease.leadership is None:
            # The former leader may have published runs that the store does not know yet.
            await self._connection.call(self._leases.status())
            self._had_no_answer = False
            return YIELD_AFTER_OUTAGE
        asked_at = 0.0
        try:
            report = await self._examine()
            if report.problem is not None:
                await self._stand_by(report)
                return STANDBY_PAUSE
            asked_at = self._monotonic()
            leadership = await self._connection.call(
                self._leases.lead(self._beat, lease=self._lease.length, report=report)
            )
            if leadership is not None and leadership != self._lease.leadership:
                await self._begin(leadership, asked_at)
        except Unavailable:
            self._had_no_answer = True
            return RETRY_AFTER
        except NotLeading:
            leadership = None
        self._had_no_answer = False
        third = self._lease.length.total_seconds() / 3
        if leadership is None:
            if self._lease.leadership is not None:
                self._leadership_lost()
            return min(STANDBY_PAUSE, third)
        self._lease.extend(leadership, asked_at=asked_at)
        return third

    async def _examine(self) -> BeatReport:
        """Return the report of this beat: it may lead only if it works and its clock is right."""
        report = self._report()
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
            self._leadership_lost()
            await self._connection.call(self._leases.release(leadership))
        await self._connection.call(self._leases.report_standby(self._beat, report))

    async def _begin(self, leadership: Leadership, asked_at: float) -> None:
        """Take over all schedule states, and runs that earlier leaders claimed and may not have published."""
        if self._lease.leadership is not None:
            self._leadership_lost()
        await self._recorder.flush()
        if reset := await self._connection.call(self._claims.reset_future_states()):
            _log.warning(
                "slots of %d periodic tasks were handled in the future, by a wrong clock: %s",
                len(reset),
                ", ".join(str(task_id) for task_id in [*reset][:_MOST_NAMED]),
            )
        schedule_states = await self._connection.call(self._claims.schedule_states())
        abandoned = await self._connection.call(self._claims.claim_abandoned(leadership))
        _log.info("this beat leads (epoch %d)", leadership.epoch)
        self._lease.extend(leadership, asked_at=asked_at)
        self._send(LeadershipGained(leadership, schedule_states))
        self._deliver(abandoned)
        self._watcher.wake()
