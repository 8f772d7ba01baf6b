"""Records the outcome of runs in batches, and retries until the store has it."""

import asyncio
from collections.abc import Callable, Collection

from application.ports.run_claims import DueSlots, Published, RunClaims
from application.ports.run_log import Finished
from application.scheduler.background import BackgroundLoop, StoreConnection
from application.scheduler.dispatcher import Outcomes
from domain.scheduling.task_runs import RunId

_MOST = 1000
GATHER = 0.5
"""Seconds in which outcomes are collected for one statement."""


class OutcomeRecorder(BackgroundLoop):
    """Keeps outcomes until they are stored. After a crash the next leader publishes claimed runs again."""

    def __init__(
        self,
        store: RunClaims,
        connection: StoreConnection,
        *,
        recorded: Callable[[Collection[RunId]], None],
    ) -> None:
        super().__init__(connection)
        self._store = store
        self._recorded = recorded
        self._published: list[Published] = []
        self._unknown: list[tuple[DueSlots, Published]] = []
        self._failed: list[Finished] = []
        self._writing = asyncio.Lock()

    def add(self, outcomes: Outcomes) -> None:
        """Queue outcomes of runs."""
        self._published += outcomes.published
        self._unknown += outcomes.unknown
        self._failed += outcomes.failed
        self.wake()

    @property
    def waiting(self) -> int:
        """The number of runs to record."""
        return len(self._published) + len(self._unknown) + len(self._failed)

    async def step(self) -> float | None:
        """Record the outcomes of the last half second."""
        if self.waiting:
            await asyncio.sleep(GATHER)
            await self.flush()
        return None

    async def flush(self) -> None:
        """Record everything; raise `Unavailable` and keep what is not recorded."""
        async with self._writing:
            while unknown := self._unknown[:_MOST]:
                due_slots, published = [due for due, _ in unknown], [each for _, each in unknown]
                await self._connection.call(self._store.record_unclaimed(due_slots, published))
                del self._unknown[: len(unknown)]
                self._recorded([each.run_id for each in published])
            while recorded := self._published[:_MOST]:
                await self._connection.call(self._store.record_published(recorded))
                del self._published[: len(recorded)]
                self._recorded([each.run_id for each in recorded])
            while failed := self._failed[:_MOST]:
                await self._connection.call(self._store.record_failed(failed))
                del self._failed[: len(failed)]
                self._recorded([each.run_id for each in failed])
