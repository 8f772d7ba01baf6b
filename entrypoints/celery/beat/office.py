"""All clerks of a beat, and the two ways in and out: news for the main thread, and work from it."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from application.ports.scheduling import BeatId, BeatReport, BeatStore
from application.ports.system import Clock
from domain.errors import Unavailable
from domain.scheduling.runs import Run, RunId
from domain.scheduling.slots import PeriodicTaskId
from entrypoints.celery.beat.claimer import Claimer
from entrypoints.celery.beat.clerk import RETRY_AFTER, Clerk, Contact
from entrypoints.celery.beat.keeper import Keeper
from entrypoints.celery.beat.lease import Lease
from entrypoints.celery.beat.news import Ended, News
from entrypoints.celery.beat.noter import Noter
from entrypoints.celery.beat.reader import Reader, Rhythm

_log = logging.getLogger(__name__)


class Office:
    """Lives on the event loop. Whoever calls from another thread goes through `call_soon_threadsafe`."""

    def __init__(
        self,
        store: BeatStore,
        beat: BeatId,
        lease: Lease,
        rhythm: Rhythm,
        *,
        clock: Clock,
        monotonic: Callable[[], float],
        tell: Callable[[News], None],
        report: Callable[[], BeatReport],
        problems: Mapping[PeriodicTaskId, str],
    ) -> None:
        self._store = store
        self._lease = lease
        self._tell = tell
        contact = Contact()
        self.claimer = Claimer(
            store, contact, lease, tell=tell, deposed=self._depose, report=self._report
        )
        self.noter = Noter(store, contact, noted=self._forget)
        self.reader = Reader(
            store,
            contact,
            lease,
            rhythm,
            monotonic=monotonic,
            tell=tell,
            grant=self._grant,
            deposed=self._depose,
            loaded=self._lead,
            problems=problems,
        )
        self.keeper = Keeper(
            store,
            contact,
            lease,
            beat,
            reader=self.reader,
            noter=self.noter,
            clock=clock,
            monotonic=monotonic,
            report=report,
            tell=tell,
            grant=self._grant,
            deposed=self._depose,
        )
        self._clerks: tuple[Clerk, ...] = (self.reader, self.keeper, self.claimer, self.noter)
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Let everybody begin."""
        for clerk in self._clerks:
            name = f"beat {type(clerk).__name__}".lower()
            self._tasks.append(asyncio.create_task(clerk.run(), name=name))
        self._tasks.append(asyncio.create_task(self._listen(), name="beat listener"))

    async def settle(self, *, within: float) -> None:
        """Take on nothing more and wait for answers, so many seconds at most. What was granted is to be published."""
        for clerk in self._clerks:
            clerk.stop()
        *working, listening = self._tasks
        listening.cancel()
        await asyncio.wait(working, timeout=within)
        for task in working:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=within)
        self.claimer.turn_away()

    async def close(self, *, within: float) -> None:
        """Note what was published and let another beat lead; give up on it after so many seconds."""
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(within):
                await self.noter.flush()
                leadership = self._lease.leadership
                if leadership is not None:
                    self._lease.end()
                    await self._store.release(leadership)
                    _log.info("this beat has handed over")

    async def _listen(self) -> None:
        while True:
            try:
                await self._store.changed()
            except Exception:  # noqa: BLE001 - a hint that does not come; looking now and then is what counts
                await asyncio.sleep(RETRY_AFTER)
            self.reader.wake()
            if self._lease.leadership is None:
                self.keeper.wake()

    def _lead(self) -> None:
        self.keeper.wake()

    def _grant(self, runs: Sequence[Run]) -> None:
        self.claimer.grant(runs)

    def _report(self, task_id: PeriodicTaskId, problem: str) -> None:
        self.reader.report(task_id, problem)

    def _forget(self, noted: Collection[RunId]) -> None:
        self.claimer.unnoted.difference_update(noted)

    def _depose(self) -> None:
        if self._lease.leadership is not None:
            _log.warning("this beat leads no longer")
            self._lease.end()
            self.claimer.turn_away()
            self._tell(Ended())
            self.keeper.wake()
