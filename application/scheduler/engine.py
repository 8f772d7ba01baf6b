"""The engine of a beat: definition → queue → due → claimed → published → recorded, on one event loop."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from application.ports.definition_feed import DefinitionFeed
from application.ports.leader_lease import BeatId, BeatReport, LeaderLease
from application.ports.publisher import Publisher
from application.ports.run_claims import RunClaims
from application.ports.system import Clock
from application.scheduler.background import RETRY_AFTER, BackgroundLoop, StoreConnection
from application.scheduler.claims import SlotClaimer
from application.scheduler.definitions import DefinitionWatcher
from application.scheduler.gc_policy import GcPolicy
from application.scheduler.leader_election import LeaderElection
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


@dataclass(kw_only=True, eq=False)
class Engine:
    """Builds the stages that a slot passes, one after the other, and starts and stops their loops.

    Everything runs on one event loop, except for publishing, which may block.
    """

    feed: DefinitionFeed
    leases: LeaderLease
    claims: RunClaims
    broker: Publisher
    thread: Executor
    """Where messages are published: one thread, so that they keep their order."""
    clock: Clock
    monotonic: Callable[[], float]
    sun: Sun
    beat: BeatId
    name: str
    """Host and process."""
    lease_length: timedelta
    poll: timedelta = timedelta(seconds=5)
    """How often definitions are read without a notification."""
    reconcile: timedelta = timedelta(minutes=5)
    """How often all versions of definitions are compared."""
    configured: Iterable[ConfiguredTask] = ()
    _tasks: dict[BackgroundLoop, "asyncio.Task[None]"] = field(
        default_factory=dict[BackgroundLoop, "asyncio.Task[None]"], init=False
    )
    _listener: "asyncio.Task[None] | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        connection = StoreConnection()
        self.gc_policy = GcPolicy(self.monotonic)
        self.lease = Lease(self.lease_length, self.monotonic)
        self.queue = ScheduleQueue(
            up_since=self.clock.now(), sun=self.sun, configured=self.configured
        )
        self.recorder = OutcomeRecorder(connection=connection, claims=self.claims)
        self.publisher = RunPublisher(
            connection=connection,
            broker=self.broker,
            thread=self.thread,
            lease=self.lease,
            queue=self.queue,
            recorder=self.recorder,
            clock=self.clock,
            monotonic=self.monotonic,
        )
        self.claimer = SlotClaimer(
            connection=connection,
            claims=self.claims,
            lease=self.lease,
            queue=self.queue,
            publisher=self.publisher,
            recorder=self.recorder,
            clock=self.clock,
            gc_policy=self.gc_policy,
        )
        self.watcher = DefinitionWatcher(
            connection=connection,
            feed=self.feed,
            claims=self.claims,
            lease=self.lease,
            queue=self.queue,
            claimer=self.claimer,
            publisher=self.publisher,
            clock=self.clock,
            monotonic=self.monotonic,
            gc_policy=self.gc_policy,
            poll=self.poll,
            reconcile=self.reconcile,
        )
        self.election = LeaderElection(
            connection=connection,
            leases=self.leases,
            beat=self.beat,
            name=self.name,
            lease=self.lease,
            watcher=self.watcher,
            queue=self.queue,
            claimer=self.claimer,
            publisher=self.publisher,
            clock=self.clock,
            monotonic=self.monotonic,
        )

    @property
    def leads(self) -> bool:
        """Whether this beat leads, and surely no other one."""
        return self.lease.holds

    @property
    def stands_by(self) -> bool:
        """Whether this beat could lead, and was just told that another one does; any thread may ask."""
        return self.election.stands_by

    def report(self) -> BeatReport:
        """Return what this beat tells operators; any thread may call this."""
        return self.election.report()

    def start(self) -> None:
        """Start all loops. Nothing is due until the definitions are read and this beat leads."""
        self.gc_policy.begin()
        for each in (self.watcher, self.election, self.claimer, self.publisher, self.recorder):
            self._tasks[each] = asyncio.create_task(each.run(), name=type(each).__name__)
        self._listener = asyncio.create_task(self._listen(), name="beat listener")

    async def close(self) -> None:
        """Publish what was claimed, record it, and release the lease. It takes seconds, even if servers are down."""
        if self._listener is not None:
            self._listener.cancel()
        stages = (self.watcher, self.election, self.claimer, self.recorder)
        await self._end(*stages, within=_DRAIN_WITHIN)
        await self._end(self.publisher, within=_PUBLISH_WITHIN)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PUBLISH_WITHIN):
                await self.publisher.publish_all()
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_RECORD_WITHIN):
                await self.recorder.flush()
                leadership = self.lease.leadership
                if leadership is not None:
                    self.lease.end()
                    await self.leases.release(leadership)
                    _log.info("this beat has released the lease")
        self.gc_policy.end()

    async def _end(self, *loops: BackgroundLoop, within: float) -> None:
        """End loops after their current steps, or in the middle of them if these take too long."""
        for each in loops:
            each.stop()
        tasks = [self._tasks[each] for each in loops if each in self._tasks]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=within)

    async def _listen(self) -> None:
        while True:
            try:
                await self.feed.changed()
            except Exception:  # noqa: BLE001 - a hint that does not come; polling is what counts
                await asyncio.sleep(RETRY_AFTER)
            self.watcher.wake()
            if self.lease.leadership is None:
                self.lease.acquire_now.set()
