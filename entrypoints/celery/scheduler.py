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
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from celery.beat import Scheduler
from celery.schedules import crontab

from application.ports.leader_lease import BeatId
from application.ports.metrics import Reading
from application.scheduler.engine import Engine
from entrypoints.celery.asynchronous.loop import EventLoopEnded, process_loop
from entrypoints.celery.beat_schedule import read_configuration
from entrypoints.celery.metrics import sample_beat, serve
from entrypoints.celery.process import container
from entrypoints.celery.publisher import CeleryPublisher
from entrypoints.heartbeat import EVERY, Heartbeat

_log = logging.getLogger(__name__)

T = TypeVar("T")

_OPEN_WITHIN = 30.0
_CLOSE_WITHIN = 12.0
"""Seconds; the engine takes less, even if servers are down."""
_LONGEST_WAIT = 5.0


class DatabaseScheduler(Scheduler):
    """Runs what is due by the periodic tasks in the database and those of the configuration, which come first.

    The engine works on the event loop of the process, and publishes in a thread of its own. The main thread waits, and
    handles signals at any time: it is never in the middle of a message.
    """

    max_interval: float = _LONGEST_WAIT  # type: ignore[assignment]  # Celery takes any number

    engine: Engine
    _heartbeat: Heartbeat
    _next_heartbeat = 0.0
    _is_open = False

    @property
    def info(self) -> str:
        """The place of the schedule, which `celery beat` shows at its start."""
        return "    . periodic tasks -> database"

    def setup_schedule(self) -> None:
        """Start the engine."""
        self.max_interval = min(self.max_interval, _LONGEST_WAIT)
        self._pause = threading.Event()
        self._loop = process_loop.thread()
        self._publisher = CeleryPublisher(self)
        self._publishing = ThreadPoolExecutor(
            1, thread_name_prefix="beat-publisher", initializer=self.app.set_current
        )
        serve(_no_readings)
        self._call(self._open(), within=_OPEN_WITHIN)
        self._is_open = True

    def tick(self, *_: object, **__: object) -> float:
        """Say that this beat works, and wait; a signal ends the wait. The engine needs no ticks."""
        if not self._loop.takes_calls:
            raise EventLoopEnded("the event loop of this beat has ended")
        if time.monotonic() >= self._next_heartbeat:
            self._next_heartbeat = time.monotonic() + EVERY
            report = self.engine.report()
            works = self.engine.leads and report.problem is None and report.publishing is None
            self._heartbeat.beat(leader=report.name, leads=works, stands_by=self.engine.stands_by)
            sample_beat(self.engine)
        # Not by Celery's `time.sleep`, which fails under the faked clocks of our tests.
        self._pause.wait(min(self.max_interval, EVERY))
        return 0.0

    def close(self) -> None:
        """Publish what was claimed, record it, and release the lease. It takes seconds, even if servers are down."""
        if self._is_open:
            self._is_open = False
            self._heartbeat.end()
            try:
                self._call(self.engine.close(), within=_CLOSE_WITHIN)
            except TimeoutError:
                _log.warning("the beat was not done in time; the next leader does the rest")
            if self.engine.publisher.is_busy:
                _log.critical("the beat hangs and is ended; the next leader does the rest")
                os._exit(os.EX_SOFTWARE)  # no thread can be ended
            self._publishing.shutdown()
            self._publisher.disconnect()
            # While the interpreter can still start the threads that closing a client takes.
            process_loop.stop()
        super().close()

    async def _open(self) -> None:
        opened = await container()
        settings = opened.settings().jobs
        self._heartbeat = Heartbeat(opened.settings().data_dir, "beat")
        self.engine = Engine(
            feed=opened.definition_feed(),
            leases=opened.leader_lease(),
            claims=opened.run_claims(),
            broker=self._publisher,
            thread=self._publishing,
            clock=opened.clock(),
            monotonic=time.monotonic,
            sun=opened.sun(),
            beat=BeatId(opened.ids().new()),
            name=f"{socket.gethostname()}:{os.getpid()}",
            lease_length=settings.beat_lease,
            poll=settings.beat_poll,
            reconcile=settings.beat_reconcile,
            configured=read_configuration(
                self._configured_tasks(), timezone=str(self.app.timezone)
            ),
        )
        self.engine.start()

    def _configured_tasks(self) -> dict[str, Any]:
        entries = dict(self.app.conf.beat_schedule)
        if self.app.conf.result_expires and not self.app.backend.supports_autoexpire:
            entries.setdefault("celery.backend_cleanup", _BACKEND_CLEANUP)
        return entries

    def _call(self, coroutine: Coroutine[Any, Any, T], *, within: float) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop.loop).result(within)


async def _no_readings() -> Sequence[Reading]:
    return ()


_BACKEND_CLEANUP = {
    "task": "celery.backend_cleanup",
    "schedule": crontab("0", "4", "*"),
    "options": {"expires": 12 * 3600},
}
"""The task that Celery adds to every schedule when results do not expire by themselves."""
