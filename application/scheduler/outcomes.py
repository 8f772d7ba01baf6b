"""Published → recorded: the outcomes of runs are recorded in batches, until the database has them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from application.ports.run_claims import DueSlots, Published, RunClaims
from application.ports.run_log import Finished
from application.scheduler.background import BackgroundLoop
from domain.scheduling.task_runs import RunId

_BATCH = 1000
_GATHER = 0.5
"""Seconds in which outcomes are collected for one statement."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of claimed runs."""

    published: list[Published] = field(default_factory=list[Published])
    published_offline: list[tuple[DueSlots, Published]] = field(
        default_factory=list[tuple[DueSlots, Published]]
    )
    """Published while the database was away and could not be asked to claim them."""
    failed: list[Finished] = field(default_factory=list[Finished])


@dataclass(kw_only=True, eq=False)
class OutcomeRecorder(BackgroundLoop):
    """Keeps outcomes until they are stored. After a crash the next leader publishes claimed runs again."""

    claims: RunClaims
    unrecorded: set[RunId] = field(default_factory=set[RunId], init=False)
    """Runs that this beat has claimed, and whose outcome is not stored."""
    _outcomes: Outcomes = field(default_factory=Outcomes, init=False)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def add(self, outcomes: Outcomes) -> None:
        """Queue outcomes of runs."""
        self._outcomes.published.extend(outcomes.published)
        self._outcomes.published_offline.extend(outcomes.published_offline)
        self._outcomes.failed.extend(outcomes.failed)
        self.wake()

    async def step(self) -> float | None:
        """Record the outcomes of the last half second."""
        waiting = self._outcomes
        if waiting.published or waiting.published_offline or waiting.failed:
            await asyncio.sleep(_GATHER)
            await self.flush()
        return None

    async def flush(self) -> None:
        """Record everything; raise `Unavailable` and keep what is not recorded."""
        waiting = self._outcomes
        async with self._writing:
            while offline := waiting.published_offline[:_BATCH]:
                due_slots, runs = [due for due, _ in offline], [run for _, run in offline]
                await self.connection.call(self.claims.record_published_offline(due_slots, runs))
                del waiting.published_offline[: len(offline)]
                self._have_recorded(runs)
            while published := waiting.published[:_BATCH]:
                await self.connection.call(self.claims.record_published(published))
                del waiting.published[: len(published)]
                self._have_recorded(published)
            while failed := waiting.failed[:_BATCH]:
                await self.connection.call(self.claims.record_failed(failed))
                del waiting.failed[: len(failed)]
                self._have_recorded(failed)

    def _have_recorded(self, runs: Iterable[Published | Finished]) -> None:
        self.unrecorded.difference_update(run.run_id for run in runs)
