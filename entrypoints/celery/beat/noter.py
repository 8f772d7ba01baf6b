"""Noting what became of runs, many at a time, and until the store has it."""

import asyncio
from collections.abc import Callable, Collection

from application.ports.scheduling import BeatStore, DueSlots, Finished, Published
from domain.scheduling.runs import RunId
from entrypoints.celery.beat.clerk import Clerk, Contact
from entrypoints.celery.beat.dispatcher import Dispatched

_MOST = 1000
GATHER = 0.5
"""Seconds in which what is to be noted is collected: one statement notes all of it."""


class Noter(Clerk):
    """Forgets nothing while the process lives. What a crash forgets was claimed: the next leader publishes it again."""

    def __init__(
        self, store: BeatStore, contact: Contact, *, noted: Callable[[Collection[RunId]], None]
    ) -> None:
        super().__init__(contact)
        self._store = store
        self._noted = noted
        self._published: list[Published] = []
        self._unknown: list[tuple[DueSlots, Published]] = []
        self._failed: list[Finished] = []
        self._writing = asyncio.Lock()

    def add(self, dispatched: Dispatched) -> None:
        """Take on what became of runs."""
        self._published += dispatched.published
        self._unknown += dispatched.unknown
        self._failed += dispatched.failed
        self.wake()

    @property
    def waiting(self) -> int:
        """How many runs are to be noted."""
        return len(self._published) + len(self._unknown) + len(self._failed)

    async def step(self) -> float | None:
        if self.waiting:
            await asyncio.sleep(GATHER)
            await self.flush()
        return None

    async def flush(self) -> None:
        """Note everything; raise `Unavailable` and keep what is not noted."""
        async with self._writing:
            while unknown := self._unknown[:_MOST]:
                due_slots, published = [due for due, _ in unknown], [each for _, each in unknown]
                await self._contact.ask(self._store.record_unclaimed(due_slots, published))
                del self._unknown[: len(unknown)]
                self._noted([each.run_id for each in published])
            while noted := self._published[:_MOST]:
                await self._contact.ask(self._store.record_published(noted))
                del self._published[: len(noted)]
                self._noted([each.run_id for each in noted])
            while failed := self._failed[:_MOST]:
                await self._contact.ask(self._store.record_failed(failed))
                del self._failed[: len(failed)]
                self._noted([each.run_id for each in failed])
