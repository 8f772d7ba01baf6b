"""The event loop of a process: in a thread of its own, started when the first coroutine needs it."""

import asyncio
import atexit
import logging
import os
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from threading import Lock, Thread, current_thread, local
from typing import Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_process_shutdown, worker_shutdown

from entrypoints.celery.asynchronous.calls import Call
from entrypoints.celery.asynchronous.contexts import EnteredContexts
from entrypoints.celery.asynchronous.stacks import Execution

try:
    from uvloop import new_event_loop
except ImportError:  # not made for every platform
    from asyncio import new_event_loop  # type: ignore[assignment]  # the wider type of the two

_log = logging.getLogger(__name__)

R = TypeVar("R")

_here = local()
"""The loop thread that the calling thread is, if it is one."""


class EventLoopEnded(RuntimeError):
    """The event loop crashed or was stopped before the coroutine had ended."""


class LoopThread:
    """An event loop in a thread of its own, the calls that run on it, and the contexts that are entered on it.

    `patience` is how many seconds a coroutine may take to end, and the loop to stop.
    """

    def __init__(self, *, patience: float = 5.0) -> None:
        self.loop = new_event_loop()
        self._patience = patience
        self.contexts = EnteredContexts()
        self._calls: set[Call[Any]] = set()
        self._aside: set[asyncio.Task[None]] = set()
        self._doomed: deque[str] = deque(maxlen=1000)  # some have ended before and never come
        self._stop = asyncio.Event()
        self._lock = Lock()
        self._over = False
        self._thread = Thread(target=self._serve, name="async-tasks", daemon=True)
        self._thread.start()

    @property
    def takes_calls(self) -> bool:
        """Whether it has neither crashed nor been stopped."""
        return not self._over

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on it, where waiting for it would wait for ever."""
        return current_thread() is self._thread

    def run(
        self,
        coroutine: Coroutine[Any, Any, R],
        execution: Execution,
        *,
        soft_limit: float | None = None,
    ) -> R:
        """Run `coroutine` while the calling thread waits; return its value or raise what it raised.

        After `soft_limit` seconds `SoftTimeLimitExceeded` is raised inside it. Raise `EventLoopEnded` if the loop
        ends first.
        """
        call = Call(coroutine, execution, self.loop, soft_limit=soft_limit, patience=self._patience)
        with self._lock:
            if self._over:
                call.abandon(EventLoopEnded(f"the event loop had ended before {call} began"))
            elif execution.id in self._doomed:
                self._doomed.remove(execution.id)
                call.abandon(SoftTimeLimitExceeded())
            self._calls.add(call)
        try:
            return call.result()
        finally:
            with self._lock:
                self._calls.discard(call)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run `coroutine` without waiting for it; only `stop` waits. An error is logged."""
        self.loop.call_soon_threadsafe(self._start, coroutine)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(_logged(coroutine))
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    def runs(self, execution_id: str) -> bool:
        """Whether a coroutine of that execution runs, or is about to."""
        with self._lock:
            return any(call.execution.id == execution_id for call in self._calls)

    def interrupt(self, execution_id: str) -> None:
        """Raise `SoftTimeLimitExceeded` inside the coroutine of that execution, or instead of beginning it."""
        with self._lock:
            for call in self._calls:
                if call.execution.id == execution_id:
                    self.loop.call_soon_threadsafe(call.interrupt, SoftTimeLimitExceeded())
                    return
            self._doomed.append(execution_id)

    def stop(self) -> None:
        """Cancel what runs, wait for what was started aside, leave the contexts (the last first), and end the loop.

        Coroutines that still run after `patience` end with the process.
        """
        with suppress(RuntimeError):  # it has crashed and is closed
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            _log.warning("the event loop still runs %s s after it was stopped", self._patience)

    def _serve(self) -> None:
        _here.thread = self
        how = "was stopped"
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            try:
                runner.run(self._stopped())
            except BaseException:  # noqa: BLE001  the calls raise it
                how = "crashed"
                _log.critical("the event loop of async tasks crashed", exc_info=True)
            with self._lock:
                self._over = True
            try:
                runner.run(self._close(how))
            finally:
                for call in [*self._calls]:
                    call.abandon(EventLoopEnded(f"the event loop {how} while {call} ran"))

    async def _stopped(self) -> None:
        await self._stop.wait()

    async def _close(self, how: str) -> None:
        calls = [*self._calls]
        for call in calls:
            call.cancel(EventLoopEnded(f"the event loop {how} while {call} ran"))
        if tasks := [call.task for call in calls if call.task]:
            await asyncio.wait(tasks, timeout=self._patience / 2)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience / 2):
                # It may need the contexts, and enter one.
                while self._aside:
                    await asyncio.wait([*self._aside])
                await self.contexts.leave_all()


async def _logged(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        await coroutine
    except Exception:  # noqa: BLE001  no caller waits for it
        _log.exception("%r failed", coroutine)


class ProcessLoop:
    """The one loop thread of this process. Nothing of it is inherited by a process that is forked or spawned."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._thread: LoopThread | None = None
        os.register_at_fork(after_in_child=self._forget)

    def thread(self) -> LoopThread:
        """Return the thread, started if there is none that works."""
        with self._lock:
            if self._thread is None or not self._thread.takes_calls:
                self._thread = LoopThread()
            return self._thread

    def current(self) -> LoopThread:
        """Return the thread if the caller runs on it, which may be stopping, or else raise `RuntimeError`."""
        thread: LoopThread | None = getattr(_here, "thread", None)
        if thread is None:
            raise RuntimeError("only async tasks run on the event loop of the process")
        return thread

    def stop(self) -> None:
        """Stop the thread if there is one; the next call starts another."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread:
            thread.stop()

    def _forget(self) -> None:
        self._lock = Lock()
        self._thread = None


process_loop = ProcessLoop()


@worker_process_shutdown.connect
@worker_shutdown.connect
def _stop(**_: object) -> None:
    """Stop when a child of the prefork pool goes (recycled ones included), or the worker of any other pool."""
    process_loop.stop()


atexit.register(process_loop.stop)
