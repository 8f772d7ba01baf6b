"""The state of the scheduler."""

from dataclasses import dataclass

from application.ports.scheduling import BeatStore, SchedulerStatus


@dataclass(frozen=True, slots=True)
class GetSchedulerStatus:
    """Show which beat leads, and how things are."""

    store: BeatStore

    async def __call__(self) -> SchedulerStatus:
        return await self.store.status()
