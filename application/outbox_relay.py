"""The relay: the loop that delivers audit entries from the outbox in every process of the API."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from application.use_cases.outbox import DeliverOutbox
from domain.errors import Unavailable

_log = logging.getLogger("portico.outbox")


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Delivery fails from now on; the relay keeps trying."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Resumed:
    """Delivery works again; nothing was lost."""


Report: TypeAlias = Callable[[Interrupted | Resumed], None]


def log_outage(fact: Interrupted | Resumed) -> None:
    """Log one line when an outage begins, and one when it ends."""
    match fact:
        case Interrupted(error):
            _log.warning("audit entries wait in the outbox", exc_info=error)
        case Resumed():
            _log.info("audit entries are delivered again")


@dataclass(frozen=True, slots=True)
class OutboxRelay:
    """Deliver the outbox while this process runs. Any number of processes may run a relay at once.

    An entry is delivered soon after this process recorded it, and within `every` seconds if another process
    recorded it and has died.
    """

    deliver: DeliverOutbox
    recorded: asyncio.Event
    """The event that `RecordAudit` sets."""
    every: float = 1.0
    commit_delay: float = 0.25
    """Seconds to wait for the commit of a recorded entry; entries of that time are delivered together.

    A delivery costs three statements and a write to the log, however many entries it has.
    """
    max_pause: float = 5.0
    """Longest pause in seconds between two attempts while the log or the outbox is down."""
    shutdown_timeout: float = 5.0
    """Seconds for the last delivery of a stopping process. Other processes deliver what remains."""

    @asynccontextmanager
    async def running(self, report: Report = log_outage) -> AsyncGenerator[None, None]:
        """Deliver while the block runs, and report the start and the end of an outage.

        At the end of the block deliver once more, unless something was down at the last attempt.
        """
        stopping = asyncio.Event()
        rounds = asyncio.create_task(self._rounds(stopping, report), name="outbox relay")
        try:
            yield
        finally:
            stopping.set()
            self.recorded.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.shutdown_timeout):
                    await rounds

    async def _rounds(self, stopping: asyncio.Event, report: Report) -> None:
        prepared, failures, is_down = False, 0, False
        while not stopping.is_set():
            try:
                if not prepared:
                    await self.deliver.log.prepare()
                prepared = True
                await self._deliver_all()
            except Exception as error:  # noqa: BLE001 - if the relay died, nothing would be delivered
                if not failures:
                    report(Interrupted(error))
                failures += 1
                is_down = isinstance(error, Unavailable)
                await _wait(stopping, self._pause(failures))
            else:
                if failures:
                    report(Resumed())
                failures, is_down = 0, False
                await _wait(self.recorded, self.every)
                if self.recorded.is_set():
                    self.recorded.clear()
                    await _wait(stopping, self.commit_delay)
        if not is_down:
            with suppress(Exception):
                await self._deliver_all()

    async def _deliver_all(self) -> None:
        while await self.deliver() == self.deliver.batch:
            pass

    def _pause(self, failures: int) -> float:
        longest = min(self.max_pause, 0.1 * 2 ** min(failures, 10))
        return random.uniform(longest / 2, longest)  # noqa: S311 - jitter


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
