"""One coroutine on an event loop, and the thread that waits for it."""

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from functools import partial
from math import inf
from threading import TIMEOUT_MAX, Lock, current_thread, main_thread
from time import monotonic
from typing import Any, Generic, TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from entrypoints.celery.asynchronous.stacks import Execution

_log = logging.getLogger(__name__)

R = TypeVar("R")

_GLANCE = 0.2
"""Seconds between two looks for signals that went unnoticed."""


class Call(Generic[R]):
    """Runs a coroutine on an event loop for a thread, in the context of that thread, while the thread waits.

    An exception of a signal handler in the waiting thread reaches the coroutine: an `Exception`, such as
    `SoftTimeLimitExceeded`, is raised at the `await` where the coroutine stands; anything else, such as `SystemExit`,
    cancels it, and it is left behind if it has not ended after `patience` seconds.
    """

    __slots__ = (
        "_coroutine",
        "_entered",
        "_error",
        "_finished",
        "_interruption",
        "_loop",
        "_over",
        "_patience",
        "_reason",
        "_soft_limit",
        "_timer",
        "_value",
        "execution",
        "task",
    )

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, R],
        execution: Execution,
        loop: asyncio.AbstractEventLoop,
        *,
        soft_limit: float | None,
        patience: float,
    ) -> None:
        self.execution = execution
        self.task: asyncio.Task[None] | None = None
        self._coroutine = coroutine
        self._loop = loop
        self._soft_limit = soft_limit
        self._patience = patience
        self._timer: asyncio.TimerHandle | None = None
        self._entered = False
        self._interruption: Exception | None = None
        self._reason: BaseException | None = None
        self._over = False
        self._value: R
        self._error: BaseException | None = None
        self._finished = Lock()
        self._finished.acquire()

    def __str__(self) -> str:
        """Return the name of the task and the id of its message."""
        return str(self.execution)

    # --- in the waiting thread ---

    def result(self) -> R:
        """Run the coroutine and wait for its end; return its value or raise what it raised."""
        context = copy_context()
        message: Callable[[], None] = self._begin
        raised: BaseException | None = None
        while not self._over:
            # A signal handler may raise anywhere in this block, not only while the lock is waited for.
            try:
                self._loop.call_soon_threadsafe(message, context=context)
                if raised is None:
                    self._wait(inf)
                elif not self._wait(self._patience):
                    _log.warning("%s still runs %s s after it was cancelled", self, self._patience)
                    if not isinstance(raised, Exception):
                        break
                    self._wait(inf)
            except BaseException as error:  # noqa: BLE001  it is raised in the coroutine, or below
                raised = error
                if isinstance(error, Exception):
                    message = partial(self.interrupt, error)
                else:
                    message = partial(self.cancel, error)
        if raised is not None and not isinstance(raised, Exception):
            raise raised
        return self._outcome()

    def _wait(self, seconds: float) -> bool:
        # Handlers run in the main thread, and a signal that comes just before it begins to wait does not wake it.
        at_most = _GLANCE if current_thread() is main_thread() else TIMEOUT_MAX
        deadline = monotonic() + seconds
        while (left := deadline - monotonic()) > 0:
            if self._finished.acquire(timeout=min(left, at_most)):
                return True
        return False

    def _outcome(self) -> R:
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error  # or the traceback and this frame would keep each other alive

    # --- on the loop ---

    def interrupt(self, error: Exception) -> None:
        """Raise `error` inside the coroutine, at the `await` where it stands."""
        self._interruption = error.with_traceback(None)
        self.cancel(error)

    def cancel(self, reason: BaseException) -> None:
        """Cancel the coroutine; unless it ends in another way, the waiting thread raises `reason`."""
        self._reason = reason
        if self.task and self._entered:
            self.task.cancel()
        else:
            self.abandon(reason)

    def abandon(self, reason: BaseException) -> None:
        """Let the waiting thread raise `reason` now; the coroutine may still run."""
        if not self._entered:
            self._coroutine.close()
        self._finish(reason)

    def _begin(self) -> None:
        if not self._over:
            self.task = self._loop.create_task(self._run(), name=str(self))
            if self._soft_limit is not None:
                self._timer = self._loop.call_later(self._soft_limit, self._run_out_of_time)

    def _run_out_of_time(self) -> None:
        _log.warning("Soft time limit (%ss) exceeded for %s", self._soft_limit, self)
        self.interrupt(SoftTimeLimitExceeded())

    async def _run(self) -> None:
        if self._over:
            return
        self._entered = True
        self.execution.go_on()
        try:
            self._value = await self
        except asyncio.CancelledError:
            cancelled = concurrent.futures.CancelledError(f"{self} was cancelled")
            self._finish(cancelled if self._reason is None else self._reason)
        except BaseException as error:  # noqa: BLE001  the waiting thread raises it; here, SystemExit would end the loop
            self._finish(error)
        else:
            self._finish(None)

    def __await__(self) -> Generator[Any, Any, R]:
        """Drive the coroutine, and replace the cancellation that an interruption needs by the interruption."""
        resume: Callable[[Any], Any] = self._coroutine.send
        argument: Any = None
        while True:
            try:
                awaited = resume(argument)
            except StopIteration as end:
                value: R = end.value
                return value
            try:
                argument = yield awaited
                resume = self._coroutine.send
            except BaseException as error:  # noqa: BLE001  it is the coroutine's to handle
                argument = error
                resume = self._coroutine.throw
            if self._interruption is not None and self.task:
                self.task.uncancel()
                argument, self._interruption = self._interruption, None
                resume = self._coroutine.throw

    def _finish(self, error: BaseException | None) -> None:
        if self._over:
            return
        self.execution.end()
        if self._timer:
            self._timer.cancel()
        self._error = error
        self._over = True
        self._finished.release()
