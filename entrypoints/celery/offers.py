"""A worker registers its tasks for the API: when it starts, each minute, and when it ends.

The worker's main process does it, and opens and closes a connection each time: its children inherit none.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from threading import Event, Thread
from typing import Any

from celery import Celery, bootsteps
from celery.signals import worker_shutdown

import bootstrap
from bootstrap import Container
from domain.errors import Unavailable
from entrypoints.celery.catalogue import registered_tasks
from entrypoints.celery.process import process_settings

_log = logging.getLogger(__name__)

REGISTER_EVERY = 60.0
"""Seconds. The API regards a worker as dead after three times as long without a sign of it."""
_WITHDRAW_WITHIN = 3.0
"""Seconds that a worker waits for the database when it ends."""


class RepeatingThread:
    """Calls something again and again in a thread of its own."""

    def __init__(self, call: Callable[[], None], *, every: float) -> None:
        self._call = call
        self._every = every
        self._is_over = Event()
        self._thread = Thread(target=self._go_on, name="worker offers", daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after the interval."""
        self._thread.start()

    def stop(self) -> None:
        """Call no more; wait for a call that is under way, but not for long."""
        self._is_over.set()
        self._thread.join(_WITHDRAW_WITHIN)

    def _go_on(self) -> None:
        while not self._is_over.wait(self._every):
            self._call()


class _Worker:
    """The worker of this process, from its start to its end."""

    def __init__(self) -> None:
        self._name = ""
        self._app: Celery | None = None
        self._thread: RepeatingThread | None = None

    def begin(self, name: str, app: Celery) -> None:
        """Register the tasks now, and from time to time."""
        self._name, self._app = f"{name}:{os.getpid()}", app
        self._thread = RepeatingThread(self._offer, every=REGISTER_EVERY)
        self._thread.start()
        self._offer()

    def end(self) -> None:
        """Withdraw the tasks."""
        if self._thread is not None:
            self._thread.stop()
            _run_logged(self._withdraw_in_time())

    def _offer(self) -> None:
        assert self._app is not None  # noqa: S101 - it has begun
        tasks = registered_tasks(self._app)
        _run_logged(_with_container(lambda container: container.offer_tasks()(self._name, tasks)))

    async def _withdraw_in_time(self) -> None:
        async with asyncio.timeout(_WITHDRAW_WITHIN):
            await _with_container(lambda container: container.withdraw_tasks()(self._name))


def _run_logged(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(coroutine)
    except (Unavailable, TimeoutError) as error:
        _log.warning("the API does not learn which tasks this worker has: %s", error)
    except Exception:  # noqa: BLE001 - tasks run whether or not the API knows them
        _log.exception("the API does not learn which tasks this worker has")


async def _with_container(call: Callable[[Container], Coroutine[Any, Any, None]]) -> None:
    async with bootstrap.running(bootstrap.build_without_keys(process_settings())) as container:
        await call(container)


_worker = _Worker()


class TaskRegistration(bootsteps.StartStopStep):
    """Registers the tasks once Celery handles signals, so that a worker that is stopped withdraws them."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        """Register before the worker takes messages."""
        _worker.begin(worker.hostname, worker.app)


def use(app: Celery) -> None:
    """Let the workers of `app` register their tasks."""
    app.steps["worker"].add(TaskRegistration)
    worker_shutdown.connect(_end)


def _end(**_: object) -> None:
    _worker.end()
