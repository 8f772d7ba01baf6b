"""Starts and stops the background loops of a beat, and connects them with each other and with the main thread."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from application.ports.definition_feed import DefinitionFeed
from application.ports.leader_lease import BeatId, BeatReport, LeaderLease
from application.ports.run_claims import RunClaims
from application.ports.system import Clock
from application.scheduler.background import RETRY_AFTER, BackgroundLoop, StoreConnection
from application.scheduler.claims import SlotClaimer
from application.scheduler.definitions import DefinitionWatcher, PollSettings
from application.scheduler.leadership import LeaderElection
from application.scheduler.lease import Lease
from application.scheduler.outcomes import OutcomeRecorder
from application.scheduler.updates import LeadershipLost, Update
from domain.errors import Unavailable
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId

_log = logging.getLogger(__name__)


class BeatSupervisor:
    """Lives on the event loop. Other threads call it through `call_soon_threadsafe`."""

    def __init__(
        self,
        feed: DefinitionFeed,
        leases: LeaderLease,
        claims: RunClaims,
        *,
        beat: BeatId,
        lease: Lease,
        settings: PollSettings,
        clock: Clock,
        monotonic: Callable[[], float],
        send: Callable[[Update], None],
        report: Callable[[], BeatReport],
        problems: Mapping[PeriodicTaskId, str],
    ) -> None:
        self._feed = feed
        self._leases = leases
        self._lease = lease
        self._send = send
        connection = StoreConnection()
        self.claimer = SlotClaimer(
            claims,
            connection,
            lease,
            send=send,
            leadership_lost=self._lose_leadership,
            report=self._report,
        )
        self.recorder = OutcomeRecorder(claims, connection, recorded=self._forget)
        self.watcher = DefinitionWatcher(
            feed,
            claims,
            connection,
            lease,
            settings,
            monotonic=monotonic,
            send=send,
            deliver=self._deliver,
            leadership_lost=self._lose_leadership,
            loaded=self._lead,
            problems=problems,
        )
        self.election = LeaderElection(
            leases,
            claims,
            connection,
            lease,
            beat,
            watcher=self.watcher,
            recorder=self.recorder,
            clock=clock,
            monotonic=monotonic,
            report=report,
            send=send,
            deliver=self._deliver,
            leadership_lost=self._lose_leadership,
        )
        self._loops: tuple[BackgroundLoop, ...] = (
            self.watcher,
            self.election,
            self.claimer,
            self.recorder,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Start all background loops."""
        for background_loop in self._loops:
            name = f"beat {type(background_loop).__name__}".lower()
            self._tasks.append(asyncio.create_task(background_loop.run(), name=name))
        self._tasks.append(asyncio.create_task(self._listen(), name="beat listener"))

    async def drain(self, *, within: float) -> None:
        """Claim nothing more and wait for answers, at most `within` seconds. Claimed runs are still published."""
        for background_loop in self._loops:
            background_loop.stop()
        *working, listening = self._tasks
        listening.cancel()
        await asyncio.wait(working, timeout=within)
        for task in working:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=within)
        self.claimer.clear()

    async def close(self, *, within: float) -> None:
        """Record what was published and release the lease, within so many seconds."""
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(within):
                await self.recorder.flush()
                leadership = self._lease.leadership
                if leadership is not None:
                    self._lease.end()
                    await self._leases.release(leadership)
                    _log.info("this beat has released the lease")

    async def _listen(self) -> None:
        while True:
            try:
                await self._feed.changed()
            except Exception:  # noqa: BLE001 - a hint that does not come; looking now and then is what counts
                await asyncio.sleep(RETRY_AFTER)
            self.watcher.wake()
            if self._lease.leadership is None:
                self.election.wake()

    def _lead(self) -> None:
        self.election.wake()

    def _deliver(self, runs: Sequence[Run]) -> None:
        self.claimer.deliver(runs)

    def _report(self, task_id: PeriodicTaskId, problem: str) -> None:
        self.watcher.report(task_id, problem)

    def _forget(self, recorded: Collection[RunId]) -> None:
        self.claimer.unrecorded.difference_update(recorded)

    def _lose_leadership(self) -> None:
        if self._lease.leadership is not None:
            _log.warning("this beat has lost the lease")
            self._lease.end()
            self.claimer.clear()
            self._send(LeadershipLost())
            self.election.wake()
