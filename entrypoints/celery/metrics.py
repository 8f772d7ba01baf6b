"""What is measured of workers and beats. Without PORTICO_METRICS_PORT it is nothing, and costs nothing."""

import asyncio
import atexit
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

from celery import Celery, states
from celery.signals import celeryd_after_setup
from kombu.exceptions import OperationalError

import bootstrap
from application.metrics import (
    BEAT_BROKEN,
    BEAT_LAG,
    BEAT_LEADER,
    BEAT_TASKS,
    BEAT_UNPUBLISHED,
    QUEUE_LENGTH,
    TASK_DURATION,
    TASK_LAST_SUCCESS,
    TASK_WAIT,
    TASKS,
)
from application.ports.metrics import Reading
from application.scheduler.engine import Engine
from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.asynchronous.resources import Resource
from entrypoints.celery.metrics_server import listen, serving
from entrypoints.celery.process import measured, process_settings
from entrypoints.metrics_page import MetricsPage
from entrypoints.sampling import set_build

_log = logging.getLogger(__name__)

Read = Callable[[], Awaitable[Sequence[Reading]]]


def count_task(name: str, state: str, seconds: float | None) -> None:
    """Count a task that ended in a state of Celery's, and how long it took if that is known."""
    measured.metrics.count(TASKS, name, state.lower())
    if state == states.SUCCESS:
        measured.metrics.set(TASK_LAST_SUCCESS, time.time(), name)
    if seconds is not None:
        measured.metrics.observe(TASK_DURATION, seconds, name)


def observe_wait(slot: datetime) -> None:
    """Observe how long after its slot a run begins."""
    measured.metrics.observe(TASK_WAIT, max(0.0, time.time() - slot.timestamp()))


def sample_beat(engine: Engine) -> None:
    """Set what a beat knows of itself."""
    report, leads = engine.report(), engine.leads
    measured.metrics.set(BEAT_LEADER, leads)
    measured.metrics.set(BEAT_LAG, report.lag.total_seconds() if leads else 0.0)
    measured.metrics.set(BEAT_UNPUBLISHED, report.unpublished)
    measured.metrics.set(BEAT_TASKS, report.tasks)
    measured.metrics.set(BEAT_BROKEN, len(engine.queue.problems))


def serve(read: Read, *, shared_by: str | None = None) -> None:
    """Measure from now on, and answer scrapes until the process ends; with processes that it forks, if they share."""
    settings = process_settings().metrics
    if settings.port is None:
        return
    try:
        listener = listen(settings)
    except OSError as error:
        _log.warning("no metrics at %s:%s: %s", settings.host, settings.port, error)
        return
    host, port, *_ = listener.getsockname()
    _log.info("metrics at http://%s:%s/metrics", f"[{host}]" if ":" in host else host, port)
    directory = None
    if shared_by is not None:
        stack = ExitStack()
        directory = stack.enter_context(bootstrap.shared_directory(settings.dir, shared_by))
        atexit.register(_close, stack, os.getpid())
    measured.metrics = bootstrap.prometheus_metrics(directory)
    set_build(measured.metrics)
    page = MetricsPage(measured.metrics, read)

    @Resource
    @asynccontextmanager
    async def server() -> AsyncIterator[None]:
        async with serving(listener, settings, page):
            yield

    async def open_server() -> None:
        await server()

    process_loop.thread().start(open_server())


def _close(stack: ExitStack, pid: int) -> None:
    if os.getpid() == pid:  # not a process that was forked from it
        stack.close()


@celeryd_after_setup.connect
def _measure_worker(instance: Any, **_: object) -> None:
    app: Celery = instance.app

    async def read() -> Sequence[Reading]:
        return await asyncio.to_thread(_queue_lengths, app)

    serve(read, shared_by="worker")


def _queue_lengths(app: Celery) -> Sequence[Reading]:
    """Ask the broker how many messages wait in the queues of this worker; if it does not answer, they are not known."""
    readings = []
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=0, timeout=1)
            channel: Any = connection.channel()
            for name in app.amqp.queues.consume_from:
                try:
                    length = channel.queue_declare(name, passive=True).message_count
                except connection.channel_errors:  # with Redis, an empty queue is not there
                    length, channel = 0, connection.channel()
                readings.append(Reading(QUEUE_LENGTH, length, (name,)))
    except (OperationalError, OSError) as error:
        _log.warning("the length of queues is not known: %s", error)
    return readings
