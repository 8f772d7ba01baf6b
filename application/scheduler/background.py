"""Background loops on the event loop, one per concern; each retries when the database is unavailable."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from domain.errors import Unavailable

_log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_AFTER = 0.5
"""Seconds until a database that did not answer is called again."""
_FAILURE_PAUSE = 5.0
"""Seconds until a loop retries after an unexpected error."""
_SLICE = 0.01
"""Seconds for which many steps may keep the event loop busy."""


@dataclass(slots=True)
class StoreConnection:
    """Whether the database is available, shared by all background loops."""

    is_lost: bool = False
    _loops: list["BackgroundLoop"] = field(default_factory=list["BackgroundLoop"])

    def wake_when_back(self, background_loop: "BackgroundLoop") -> None:
        """Wake `background_loop` when the database answers again."""
        self._loops.append(background_loop)

    async def call(self, question: Awaitable[T]) -> T:
        """Return the answer; raise `Unavailable`."""
        try:
            answer = await question
        except Unavailable as error:
            if not self.is_lost:
                _log.warning("the database does not answer the beat: %s", error)
            self.is_lost = True
            raise
        if self.is_lost:
            _log.info("the database answers the beat again")
            self.is_lost = False
            for background_loop in self._loops:
                background_loop.wake()
        return answer


@dataclass(kw_only=True, eq=False)
class BackgroundLoop(ABC):
    """Runs `step` when woken, and after the pause that the last step returned."""

    connection: StoreConnection
    woken: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    is_stopping: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.connection.wake_when_back(self)

    def wake(self) -> None:
        """Run the next step at once."""
        self.woken.set()

    def stop(self) -> None:
        """Stop after the current step."""
        self.is_stopping = True
        self.wake()

    @abstractmethod
    async def step(self) -> float | None:
        """Do what there is to do; return the seconds until the next step (None: when woken). Raise `Unavailable`."""

    async def run(self) -> None:
        """Go on until stopped."""
        while not self.is_stopping:
            pause = await self._try_step()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.woken.wait()
            self.woken.clear()

    async def _try_step(self) -> float | None:
        try:
            return await self.step()
        except Unavailable:
            return RETRY_AFTER
        except Exception:  # noqa: BLE001 - a loop that ends would never do its work again
            _log.exception("unexpected error in the beat")
            return _FAILURE_PAUSE


async def in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items, and let others use the event loop every few milliseconds."""
    give_way_at = time.monotonic() + _SLICE
    for item in items:
        yield item
        if time.monotonic() >= give_way_at:
            await asyncio.sleep(0)
            give_way_at = time.monotonic() + _SLICE
