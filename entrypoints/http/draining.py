"""The end of a process that a balancer, or clients with open connections, still send requests to."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Protocol
from weakref import WeakSet

DRAINING = "draining"
"""Its name in the state of the lifespan, where the protocol finds it."""


class Lasting(Protocol):
    """A connection that no answer ends: a WebSocket."""

    def close_within(self, seconds: float) -> None:
        """Close at a random moment of that time, so that clients do not all connect again at once."""
        ...


class Draining:
    """From SIGTERM on, the process goes on serving for `lasts`, and is not ready.

    Each answer closes its connection, and connections that no answer ends are closed one after the other. So a balancer
    can take the process out, and clients can leave, before the listeners close. A second SIGTERM ends that time.
    """

    def __init__(self, lasts: timedelta) -> None:
        self.lasts = lasts
        self.has_begun = False
        self.lasting = WeakSet[Lasting]()
        """Open connections that no answer ends."""

    def begin(self) -> None:
        """Let clients leave from now on. One that connects again too early, to this process, is told at its end."""
        self.has_begun = True
        for connection in self.lasting:
            connection.close_within(self.lasts.total_seconds())

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

        def drain() -> None:
            self.begin()
            loop.call_later(self.lasts.total_seconds(), end)

        def on_signal(_signal: int, _frame: FrameType | None) -> None:
            if self.has_begun:
                end()
            else:
                self.has_begun = True
                loop.call_soon_threadsafe(drain)

        signal.signal(signal.SIGTERM, on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, stop)
