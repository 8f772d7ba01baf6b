"""Signals that end a beat: they wait for the message that is being published, but not for ever."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


class SignalWatch:
    """Notifies an event loop of signals that end the process.

    Python runs their handlers in the main thread alone, which may hang where none is run, such as in a name server.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, notify: Callable[[], None]) -> None:
        self._loop = loop
        self._notify = notify
        self._ends: tuple[socket.socket, socket.socket] | None = None
        if threading.current_thread() is threading.main_thread():
            self._ends = reader, writer = socket.socketpair()
            reader.settimeout(0)
            writer.settimeout(0)
            self._before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            loop.call_soon_threadsafe(loop.add_reader, reader, self._read)

    def close(self) -> None:
        """Stop watching."""
        if self._ends is not None:
            signal.set_wakeup_fd(self._before)
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._close)

    def _read(self) -> None:
        if self._ends is not None and _ENDING.intersection(self._ends[0].recv(4096)):
            self._notify()

    def _close(self) -> None:
        if self._ends is not None:
            reader, writer = self._ends
            self._loop.remove_reader(reader)
            reader.close()
            writer.close()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals that would end the process wait until the block is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in _ENDING
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


@contextmanager
def limited(seconds: float, *, give_up: Callable[[], None]) -> Iterator[None]:
    """Call `give_up` in a thread of its own if the block is not over after so many seconds."""
    watch = threading.Timer(seconds, give_up)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
