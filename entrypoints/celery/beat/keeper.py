"""Keeping the lease: who leads renews it, everyone else waits for its end. Who has a problem lets others lead."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from application.ports.scheduling import (
    CLOCK_TOLERANCE,
    BeatId,
    BeatReport,
    BeatStore,
    Leadership,
    NotLeading,
)
from application.ports.system import Clock
from domain.errors import Unavailable
from domain.scheduling.runs import Run
from entrypoints.celery.beat.clerk import RETRY_AFTER, Clerk, Contact
from entrypoints.celery.beat.lease import Lease
from entrypoints.celery.beat.news import Began
from entrypoints.celery.beat.noter import Noter
from entrypoints.celery.beat.reader import Reader

_log = logging.getLogger(__name__)

STANDBY_PAUSE = 1.0
"""Seconds after which a beat that does not lead asks again, at most: a leader that died is replaced so soon."""
_MOST_NAMED = 10
COURTESY = 2.0
"""Seconds for which a beat that did not lead before an outage lets the one go first that did."""


class Keeper(Clerk):
    """Begins to lead when nobody does, and goes on as long as it can."""

    def __init__(
        self,
        store: BeatStore,
        contact: Contact,
        lease: Lease,
        beat: BeatId,
        *,
        reader: Reader,
        noter: Noter,
        clock: Clock,
        monotonic: Callable[[], float],
        report: Callable[[], BeatReport],
        tell: Callable[[Began], None],
        grant: Callable[[Sequence[Run]], None],
        deposed: Callable[[], None],
    ) -> None:
        super().__init__(contact)
        self._store = store
        self._lease = lease
        self._beat = beat
        self._reader = reader
        self._noter = noter
        self._clock = clock
        self._monotonic = monotonic
        self._report = report
        self._tell = tell
        self._grant = grant
        self._deposed = deposed
        self._had_no_answer = False
        self._problem: str | None = None

    async def step(self) -> float | None:
        if not self._reader.is_loaded:
            return None  # whoever is ready should lead
        if self._had_no_answer and self._lease.leadership is None:
            # Who led when the store went away may have published what the store does not know of yet.
            await self._contact.ask(self._store.status())
            self._had_no_answer = False
            return COURTESY
        asked_at = 0.0
        try:
            report = await self._examine()
            if report.problem is not None:
                await self._stand_by(report)
                return STANDBY_PAUSE
            asked_at = self._monotonic()
            leadership = await self._contact.ask(
                self._store.lead(self._beat, lease=self._lease.length, report=report)
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
                self._deposed()
            return min(STANDBY_PAUSE, third)
        self._lease.extend(leadership, asked_at=asked_at)
        return third

    async def _examine(self) -> BeatReport:
        """Return how this beat is: it may only lead if it works, and if its clock is right."""
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
        told = await self._contact.ask(self._store.now())
        after = self._clock.now()
        if told < before:
            return before - told
        return min(after - told, timedelta(0))

    async def _stand_by(self, report: BeatReport) -> None:
        """Let another beat lead, and say why."""
        if self._problem is None:
            _log.error("this beat cannot lead: %s", report.problem)
            self._problem = report.problem
        leadership = self._lease.leadership
        if leadership is not None:
            self._deposed()
            await self._contact.ask(self._store.release(leadership))
        await self._contact.ask(self._store.report_standby(self._beat, report))

    async def _begin(self, leadership: Leadership, asked_at: float) -> None:
        """Take over where everything stands, and what earlier leaders claimed and may not have published."""
        if self._lease.leadership is not None:
            self._deposed()
        await self._noter.flush()
        if unsettled := await self._contact.ask(self._store.reset_future_states()):
            _log.warning(
                "%d periodic tasks had been settled in the future, by a clock that was wrong: %s",
                len(unsettled),
                ", ".join(str(task_id) for task_id in [*unsettled][:_MOST_NAMED]),
            )
        schedule_states = await self._contact.ask(self._store.schedule_states())
        abandoned = await self._contact.ask(self._store.claim_abandoned(leadership))
        _log.info("this beat leads (epoch %d)", leadership.epoch)
        self._lease.extend(leadership, asked_at=asked_at)
        self._tell(Began(leadership, schedule_states))
        self._grant(abandoned)
        self._reader.wake()
