"""The end of a process that a balancer, or clients with open connections, still send requests to."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

DRAINING = "draining"
"""Its name in the state of the lifespan, where the protocol finds it."""


class Draining:
    """From SIGTERM on, the process goes on serving for `lasts`, and is not ready; each answer closes its connection.

    So a balancer can take it out, and clients can leave, before the listeners close. A second SIGTERM ends that time.
    """

    def __init__(self, lasts: timedelta) -> None:
        self.lasts = lasts
        self.has_begun = False

    @contextmanager
    def on_sigterm(self) -> Iterator[None]:
        """Begin at the next SIGTERM, and at the end do what the server does at a SIGTERM. Call it in the event loop."""
        if not self.lasts:
            yield
            return
        loop = asyncio.get_running_loop()
        stop = signal.getsignal(signal.SIGTERM)

        def end() -> None:
            if callable(stop):
                stop(signal.SIGTERM, None)

        def begin(_signal: int, _frame: FrameType | None) -> None:
            if self.has_begun:
                end()
            else:
                self.has_begun = True
                loop.call_soon_threadsafe(loop.call_later, self.lasts.total_seconds(), end)

        signal.signal(signal.SIGTERM, begin)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, stop)
