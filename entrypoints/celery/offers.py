"""What a worker tells of itself, so that the API knows its tasks: at its start, each minute from then on, at its end.

The worker's main process tells it, and opens and closes a connection each time: its children inherit none.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from threading import Event, Thread
from typing import Any

from celery import Celery
from celery.signals import celeryd_after_setup, worker_ready, worker_shutdown

import bootstrap
from bootstrap import Container
from domain.errors import Unavailable
from entrypoints.celery.catalogue import registered_tasks
from entrypoints.celery.process import process_settings

_log = logging.getLogger(__name__)

TELL_EVERY = 60.0
"""Seconds; a worker that is silent for three times as long is taken for dead."""
_LAST_CALL = 3.0
"""Seconds that a worker takes to say that it has ended; if the database is away, its silence tells."""


class Teller:
    """Tells something again and again in a thread of its own, whatever becomes of each attempt."""

    def __init__(self, tell: Callable[[], None], *, every: float) -> None:
        self._tell = tell
        self._every = every
        self._is_over = Event()
        self._thread = Thread(target=self._go_on, name="worker offers", daemon=True)

    def start(self) -> None:
        """Begin; the first time is after a while."""
        self._thread.start()

    def stop(self) -> None:
        """Tell no more, and wait for an attempt that is under way, but not for long."""
        self._is_over.set()
        self._thread.join(_LAST_CALL)

    def _go_on(self) -> None:
        while not self._is_over.wait(self._every):
            self._tell()


class _Worker:
    """The worker of this process, from its start to its end."""

    def __init__(self) -> None:
        self._name = ""
        self._app: Celery | None = None
        self._teller: Teller | None = None

    def begin(self, name: str, app: Celery) -> None:
        """Tell for the first time, before there are children."""
        self._name, self._app = f"{name}:{os.getpid()}", app
        self._offer()

    def go_on(self) -> None:
        """Tell again from time to time."""
        self._teller = Teller(self._offer, every=TELL_EVERY)
        self._teller.start()

    def end(self) -> None:
        """Tell that there is no more of it."""
        if self._teller is not None:
            self._teller.stop()
            _told(self._withdraw_in_time())

    def _offer(self) -> None:
        assert self._app is not None  # noqa: S101 - it has begun
        tasks = registered_tasks(self._app)
        _told(_with_container(lambda container: container.offer_tasks()(self._name, tasks)))

    async def _withdraw_in_time(self) -> None:
        async with asyncio.timeout(_LAST_CALL):
            await _with_container(lambda container: container.withdraw_tasks()(self._name))


def _told(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(coroutine)
    except (Unavailable, TimeoutError) as error:
        _log.warning("the API does not learn which tasks this worker has: %s", error)
    except Exception:  # noqa: BLE001 - tasks run whether or not the API knows them
        _log.exception("the API does not learn which tasks this worker has")


async def _with_container(tell: Callable[[Container], Coroutine[Any, Any, None]]) -> None:
    async with bootstrap.running(bootstrap.build_without_keys(process_settings())) as container:
        await tell(container)


_worker = _Worker()


def use() -> None:
    """Have the workers of this process tell."""
    celeryd_after_setup.connect(_begin)
    worker_ready.connect(_go_on)
    worker_shutdown.connect(_end)


def _begin(sender: str, instance: Any, **_: object) -> None:
    _worker.begin(sender, instance.app)


def _go_on(**_: object) -> None:
    _worker.go_on()


def _end(**_: object) -> None:
    _worker.end()
