"""The engine of a beat: definition → queue → due → claimed → published → recorded, on one event loop."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from application.ports.definition_feed import DefinitionFeed
from application.ports.leader_lease import BeatId, BeatReport, LeaderLease
from application.ports.publisher import Publisher
from application.ports.run_claims import RunClaims
from application.ports.system import Clock
from application.scheduler.background import RETRY_AFTER, BackgroundLoop, StoreConnection
from application.scheduler.claims import SlotClaimer
from application.scheduler.definitions import DefinitionWatcher, PollSettings
from application.scheduler.gc_policy import GcPolicy
from application.scheduler.leadership import LeaderElection
from application.scheduler.lease import Lease
from application.scheduler.outcomes import OutcomeRecorder
from application.scheduler.publishing import RunPublisher
from application.scheduler.schedule_queue import ConfiguredTask, ScheduleQueue
from domain.errors import Unavailable
from domain.scheduling.firing import Sun

_log = logging.getLogger(__name__)

_DRAIN_WITHIN = 2.0
_PUBLISH_WITHIN = 3.0
_RECORD_WITHIN = 3.0
"""Seconds that each step of closing may take; what is not done then is left to the next leader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the engine needs from outside."""

    feed: DefinitionFeed
    leases: LeaderLease
    claims: RunClaims
    publisher: Publisher
    thread: Executor
    """The thread that publishes: one, so that messages keep their order."""
    clock: Clock
    monotonic: Callable[[], float]
    sun: Sun


class Engine:
    """Builds the stages that a slot passes, one after the other, and starts and stops their loops.

    Everything runs on one event loop, except for publishing, which may block.
    """

    def __init__(
        self,
        ports: Ports,
        *,
        beat: BeatId,
        name: str,
        lease: timedelta,
        poll: PollSettings,
        configured: Iterable[ConfiguredTask] = (),
    ) -> None:
        clock, monotonic = ports.clock, ports.monotonic
        connection = StoreConnection()
        self._ports = ports
        self.gc_policy = GcPolicy(monotonic)
        self.lease = Lease(lease, monotonic)
        self.queue = ScheduleQueue(up_since=clock.now(), sun=ports.sun, configured=configured)
        self.recorder = OutcomeRecorder(ports.claims, connection)
        self.publisher = RunPublisher(
            ports.publisher,
            ports.thread,
            connection,
            lease=self.lease,
            queue=self.queue,
            recorder=self.recorder,
            clock=clock,
            monotonic=monotonic,
        )
        self.claimer = SlotClaimer(
            ports.claims,
            connection,
            lease=self.lease,
            queue=self.queue,
            publisher=self.publisher,
            recorder=self.recorder,
            clock=clock,
            gc_policy=self.gc_policy,
        )
        self.watcher = DefinitionWatcher(
            ports.feed,
            ports.claims,
            connection,
            poll,
            lease=self.lease,
            queue=self.queue,
            claimer=self.claimer,
            publisher=self.publisher,
            clock=clock,
            monotonic=monotonic,
            gc_policy=self.gc_policy,
        )
        self.election = LeaderElection(
            ports.leases,
            connection,
            beat=beat,
            name=name,
            lease=self.lease,
            watcher=self.watcher,
            queue=self.queue,
            claimer=self.claimer,
            publisher=self.publisher,
            clock=clock,
            monotonic=monotonic,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._publishing: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        """Whether this beat leads, and surely no other one."""
        return self.lease.holds

    def report(self) -> BeatReport:
        """Return what this beat tells operators; any thread may call this."""
        return self.election.report()

    def start(self) -> None:
        """Start all loops. Nothing is due until the definitions are read and this beat leads."""
        self._tasks = [
            asyncio.create_task(each.run(), name=f"beat {type(each).__name__}")
            for each in (self.watcher, self.election, self.claimer, self.recorder)
        ]
        self._tasks.append(asyncio.create_task(self._listen(), name="beat listener"))
        self._publishing = asyncio.create_task(self.publisher.run(), name="beat publishing")

    async def close(self) -> None:
        """Publish what was claimed, record it, and release the lease; within seconds, whatever is away."""
        await self._drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PUBLISH_WITHIN):
                self.publisher.stop()
                if self._publishing is not None:
                    await self._publishing
                await self.publisher.publish_all()
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_RECORD_WITHIN):
                await self.recorder.flush()
                leadership = self.lease.leadership
                if leadership is not None:
                    self.lease.end()
                    await self._ports.leases.release(leadership)
                    _log.info("this beat has released the lease")

    async def _drain(self) -> None:
        """Claim nothing more, and wait for answers to what was claimed."""
        loops: tuple[BackgroundLoop, ...] = (
            self.watcher,
            self.election,
            self.claimer,
            self.recorder,
        )
        for each in loops:
            each.stop()
        if not self._tasks:
            return
        *working, listening = self._tasks
        listening.cancel()
        await asyncio.wait(working, timeout=_DRAIN_WITHIN)
        for task in working:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=_DRAIN_WITHIN)

    async def _listen(self) -> None:
        while True:
            try:
                await self._ports.feed.changed()
            except Exception:  # noqa: BLE001 - a hint that does not come; polling is what counts
                await asyncio.sleep(RETRY_AFTER)
            self.watcher.wake()
            if self.lease.leadership is None:
                self.lease.campaign.set()
