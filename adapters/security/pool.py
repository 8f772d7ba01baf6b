"""The threads in which argon2 and RSA run, so that they never hold up the event loop."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from application.metrics import HASH_DURATION, HASH_QUEUE, HASH_REJECTED
from application.ports.metrics import UNMEASURED, Metrics
from application.settings import PasswordSettings
from domain.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")


class HashingPool:
    """At most `workers` calls run (one per core if that is None), at most `queue` more wait.

    Threads start with the first calls. Both libraries release the interpreter lock while they compute.
    """

    def __init__(self, settings: PasswordSettings, metrics: Metrics = UNMEASURED) -> None:
        self._metrics = metrics
        self._unfinished = 0
        workers = settings.hashing_workers or os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="hashing")
        self._permits = threading.BoundedSemaphore(workers + settings.hashing_queue)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns; raise `Unavailable` at once when the queue is full or the pool closed.

        Who is cancelled while waiting gives the place up. A call that has begun is finished in its thread, and
        keeps its place until then: otherwise impatient clients could start more work than there are threads for.
        """
        if not self._permits.acquire(blocking=False):
            self._metrics.count(HASH_REJECTED)
            raise Unavailable("Password hashing")
        started = time.perf_counter()
        try:
            call = self._threads.submit(function, *args, **kwargs)
        except RuntimeError as closed:
            self._permits.release()
            raise Unavailable("Password hashing") from closed
        call.add_done_callback(lambda _: self._permits.release())
        self._unfinished += 1
        try:
            return await asyncio.wrap_future(call)
        finally:
            self._unfinished -= 1
            self._metrics.observe(HASH_DURATION, time.perf_counter() - started)

    def sample(self, metrics: Metrics) -> None:
        """Set how many callers wait for a result."""
        metrics.set(HASH_QUEUE, self._unfinished)

    def close(self) -> None:
        """Cancel the calls that wait, and return when those that run have ended."""
        self._threads.shutdown(cancel_futures=True)
