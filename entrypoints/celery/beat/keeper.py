"""Keeping the lease: who leads renews it, everyone else waits for its end."""

import logging
from collections.abc import Callable, Sequence

from application.ports.scheduling import BeatId, BeatReport, BeatStore, Leadership, NotLeading
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
        self._monotonic = monotonic
        self._report = report
        self._tell = tell
        self._grant = grant
        self._deposed = deposed
        self._had_no_answer = False

    async def step(self) -> float | None:
        if not self._reader.is_loaded:
            return None  # whoever is ready should lead
        if self._had_no_answer and self._lease.leadership is None:
            # Who led when the store went away may have published what the store does not know of yet.
            await self._contact.ask(self._store.status())
            self._had_no_answer = False
            return COURTESY
        asked_at = self._monotonic()
        try:
            leadership = await self._contact.ask(
                self._store.lead(self._beat, lease=self._lease.length, report=self._report())
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

    async def _begin(self, leadership: Leadership, asked_at: float) -> None:
        """Take over where everything stands, and what earlier leaders claimed and may not have published."""
        if self._lease.leadership is not None:
            self._deposed()
        await self._noter.flush()
        standings = await self._contact.ask(self._store.standings())
        abandoned = await self._contact.ask(self._store.claim_abandoned(leadership))
        _log.info("this beat leads (epoch %d)", leadership.epoch)
        self._lease.extend(leadership, asked_at=asked_at)
        self._tell(Began(leadership, standings))
        self._grant(abandoned)
        self._reader.wake()
