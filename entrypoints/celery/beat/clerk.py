"""What runs on the event loop: clerks that ask the store, each one thing, again and again, whatever goes wrong."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from domain.errors import Unavailable

_log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_AFTER = 0.5
"""Seconds until a store that did not answer is asked again."""
_FAILURE_PAUSE = 5.0
"""Seconds until a clerk that made a mistake tries again."""


@dataclass(slots=True)
class Contact:
    """Whether the store answers, as all clerks know it."""

    is_lost: bool = False
    _clerks: list["Clerk"] = field(default_factory=list["Clerk"])

    def inform(self, clerk: "Clerk") -> None:
        """Wake `clerk` when the store answers again."""
        self._clerks.append(clerk)

    async def ask(self, question: Awaitable[T]) -> T:
        """Return the answer; raise `Unavailable`."""
        try:
            answer = await question
        except Unavailable as error:
            if not self.is_lost:
                _log.warning("the beat gets no answer: %s", error)
            self.is_lost = True
            raise
        if self.is_lost:
            _log.info("the database answers the beat again")
            self.is_lost = False
            for clerk in self._clerks:
                clerk.wake()
        return answer


class Clerk(ABC):
    """One thing to do: at once when woken, and after the pause that the last step asked for."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._woken = asyncio.Event()
        self.is_stopping = False
        contact.inform(self)

    def wake(self) -> None:
        """Let the next step come at once."""
        self._woken.set()

    def stop(self) -> None:
        """Let the step that is under way be the last."""
        self.is_stopping = True
        self.wake()

    @abstractmethod
    async def step(self) -> float | None:
        """Do what there is to do; return the seconds until the next step (None: when woken). Raise `Unavailable`."""

    async def run(self) -> None:
        """Go on until stopped."""
        while not self.is_stopping:
            pause = await self._try(self.step)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            self._woken.clear()

    async def _try(self, step: Callable[[], Awaitable[float | None]]) -> float | None:
        try:
            return await step()
        except Unavailable:
            return RETRY_AFTER
        except Exception:  # noqa: BLE001 - a clerk that dies would leave its work undone for ever
            _log.exception("the beat made a mistake")
            return _FAILURE_PAUSE
