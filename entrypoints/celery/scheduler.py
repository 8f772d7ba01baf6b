"""`DatabaseScheduler`: the scheduler of a beat whose periodic tasks are in the database.

    celery -A entrypoints.celery.app beat -S entrypoints.celery.scheduler:DatabaseScheduler

Any number of beats may run: one leads, the others stand by.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import cached_property
from queue import SimpleQueue
from typing import Any, TypeVar

from celery.beat import Scheduler
from celery.result import denied_join_result
from celery.schedules import crontab
from kombu import Connection
from kombu.common import ignore_errors

from application.ports.leader_lease import BeatId
from application.ports.run_claims import DueSlots
from application.scheduler.definitions import PollSettings
from application.scheduler.dispatcher import Dispatcher, LoopBridge, Outcomes
from application.scheduler.gc_policy import GcPolicy
from application.scheduler.lease import Lease
from application.scheduler.schedule_queue import ScheduleQueue
from application.scheduler.supervisor import BeatSupervisor
from application.scheduler.updates import Update
from domain.scheduling.slots import PeriodicTaskId
from entrypoints.celery.asynchronous.loop import EventLoopEnded, process_loop
from entrypoints.celery.beat_schedule import read_configuration
from entrypoints.celery.process import container
from entrypoints.celery.publisher import CeleryPublisher, DueEntry
from entrypoints.celery.signals import SignalWatch, limited, uninterrupted
from entrypoints.heartbeat import EVERY, Heartbeat

_log = logging.getLogger(__name__)

T = TypeVar("T")

_OPEN_WITHIN = 30.0
_DRAIN_WITHIN = 2.0
_PUBLISH_WITHIN = 3.0
_CLOSE_WITHIN = 3.0
"""Seconds that each step of starting and stopping may take; what is not done then is left to the next leader."""
_BROKER_WITHIN = 2
"""Seconds that the broker may take to answer."""
_BROKER_LIMITS = (
    "socket_timeout",
    "socket_connect_timeout",
    "connect_timeout",
    "write_timeout",
    "answer_within",
)
_LONGEST_WAIT = 5.0


class DatabaseScheduler(Scheduler):
    """Runs what is due by the periodic tasks in the database and those of the configuration, which come first.

    `tick` never waits for the database. It waits itself until something is due or has changed, so the interval that
    it returns is always nothing. A signal ends that wait; it never interrupts a message.
    """

    max_interval: float = _LONGEST_WAIT  # type: ignore[assignment]  # Celery takes any number

    dispatcher: Dispatcher
    _supervisor: BeatSupervisor
    _heartbeat: Heartbeat
    _next_heartbeat = 0.0
    _is_open = False
    _is_ticking = False

    @property
    def info(self) -> str:
        """What `celery beat` says when it starts about where tasks are."""
        return "    . periodic tasks -> database"

    def setup_schedule(self) -> None:
        """Begin to read the definitions. Nothing is due until they are there and this beat leads."""
        self.max_interval = min(self.max_interval, _LONGEST_WAIT)
        self._thread = process_loop.thread()
        self._call(self._open(), within=_OPEN_WITHIN)
        self._is_open = True
        self._signals = SignalWatch(self._thread.loop, self._expect_shutdown)
        self.dispatcher.gc_policy.begin()

    def tick(self, *_: object, **__: object) -> float:
        """Wait until something is due, and do it."""
        if not self._thread.takes_calls:
            raise EventLoopEnded("the event loop of this beat has ended")
        self._is_ticking = True
        try:
            self.dispatcher.wait(self.max_interval)
            with uninterrupted():
                self.dispatcher.work()
        finally:
            self._is_ticking = False
        self._beat()
        return 0.0

    def _beat(self) -> None:
        """Say now and then whether this beat does its work, for `portico beat --check`."""
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + EVERY
            report = self.dispatcher.report(_own_name())
            leads = self.dispatcher.leads and self.dispatcher.lease.holds
            works = leads and report.problem is None and report.publishing is None
            self._heartbeat.beat(leader=report.name, leads=works)

    def close(self) -> None:
        """Publish what was claimed, record it, and release the lease; within seconds, whatever is down."""
        if self._is_ticking:
            return  # called by a signal handler: the service closes again after the tick
        if self._is_open:
            self._is_open = False
            self._heartbeat.end()
            self._signals.close()
            try:
                self._call(self._supervisor.drain(within=_DRAIN_WITHIN), within=2 * _DRAIN_WITHIN)
                with limited(2 * _PUBLISH_WITHIN, give_up=self._exit_at_once):
                    self.dispatcher.publish_all(within=_PUBLISH_WITHIN)
                self._call(self._supervisor.close(within=_CLOSE_WITHIN), within=2 * _CLOSE_WITHIN)
            except TimeoutError:
                _log.warning("the beat was not done in time; the next leader does the rest")
            self.dispatcher.gc_policy.end()
            # While the interpreter can still start the threads that closing a client takes.
            process_loop.stop()
        super().close()

    def _expect_shutdown(self) -> None:
        """Wait until the main thread closes, because a signal came; give up if it does not."""

        def check() -> None:
            if self._is_open:
                threading.Thread(target=self._exit_at_once, daemon=True).start()

        self._thread.loop.call_later(_PUBLISH_WITHIN, check)

    def _exit_at_once(self) -> None:
        """End this process, whose main thread hangs, from another thread; let another beat lead before."""
        _log.critical("the beat hangs and is ended; the next leader does the rest")
        with suppress(Exception):
            self._call(self._supervisor.drain(within=_DRAIN_WITHIN), within=2 * _DRAIN_WITHIN)
            self._call(self._supervisor.close(within=_CLOSE_WITHIN), within=2 * _CLOSE_WITHIN)
        os._exit(os.EX_SOFTWARE)

    # --- the event loop's part ---

    async def _open(self) -> None:
        opened = await container()
        settings, clock = opened.settings().jobs, opened.clock()
        self._heartbeat = Heartbeat(opened.settings().data_dir, "beat")
        configured = read_configuration(self._configured_tasks(), timezone=str(self.app.timezone))
        store = opened.beat_store()
        lease = Lease(settings.lease, time.monotonic)
        updates: SimpleQueue[Update] = SimpleQueue()
        self._supervisor = supervisor = BeatSupervisor(
            store,
            store,
            store,
            beat=BeatId(opened.ids().new()),
            lease=lease,
            settings=PollSettings(poll=settings.poll, reconcile=settings.reconcile),
            clock=clock,
            monotonic=time.monotonic,
            send=updates.put,
            report=lambda: self.dispatcher.report(_own_name()),
            problems={each.id: each.problem for each in configured if each.problem is not None},
        )
        bridge = _ThreadSafeBridge(asyncio.get_running_loop(), supervisor)
        self.dispatcher = Dispatcher(
            queue=ScheduleQueue(
                up_since=clock.now(),
                sun=opened.sun(),
                configured=configured,
                report=bridge.report,
            ),
            publisher=CeleryPublisher(self._apply, self._disconnect),
            bridge=bridge,
            lease=lease,
            clock=clock,
            monotonic=time.monotonic,
            gc_policy=GcPolicy(time.monotonic),
            updates=updates,
        )
        supervisor.open()

    def _configured_tasks(self) -> dict[str, Any]:
        entries = dict(self.app.conf.beat_schedule)
        if self.app.conf.result_expires and not self.app.backend.supports_autoexpire:
            entries.setdefault("celery.backend_cleanup", _BACKEND_CLEANUP)
        return entries

    def _call(self, coroutine: Coroutine[Any, Any, T], *, within: float) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._thread.loop).result(within)

    # --- publishing ---

    def _apply(self, due: DueEntry) -> object:
        # Else Celery subscribes to the result of each message, on a connection that may hang; nobody here waits for it.
        with denied_join_result():
            return self.apply_async(due, producer=self.producer, advance=False)  # type: ignore[arg-type]  # a part of one is enough

    def _disconnect(self) -> None:
        self.__dict__.pop("producer", None)
        if connection := self.__dict__.pop("connection", None):
            ignore_errors(connection, connection.collect)

    @cached_property
    def connection(self) -> Connection:
        """A connection to the broker that fails soon rather than late."""
        connection = self.app.connection_for_write(connect_timeout=_BROKER_WITHIN)
        options = connection.transport_options or {}
        connection.transport_options = options | {
            name: min(options[name], _BROKER_WITHIN) for name in _BROKER_LIMITS if name in options
        }
        return connection

    def _ensure_connected(self) -> Connection:
        connection = self.connection
        connection.ensure_connection(max_retries=0, timeout=_BROKER_WITHIN)
        return connection


def _own_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


_BACKEND_CLEANUP = {
    "task": "celery.backend_cleanup",
    "schedule": crontab("0", "4", "*"),
    "options": {"expires": 12 * 3600},
}
"""What Celery adds to every schedule when results do not expire by themselves."""


class _ThreadSafeBridge(LoopBridge):
    """Hands work over to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, supervisor: BeatSupervisor) -> None:
        self._loop = loop
        self._supervisor = supervisor

    @property
    def waiting(self) -> int:
        return self._supervisor.claimer.waiting

    def claim(self, epoch: int, due_slots: Sequence[DueSlots]) -> None:
        self._loop.call_soon_threadsafe(self._supervisor.claimer.add, epoch, due_slots)

    def report(self, task_id: PeriodicTaskId, problem: str) -> None:
        """Record that a task cannot be scheduled."""
        self._loop.call_soon_threadsafe(self._supervisor.watcher.report, task_id, problem)

    def record(self, outcomes: Outcomes) -> None:
        self._loop.call_soon_threadsafe(self._supervisor.recorder.add, outcomes)
