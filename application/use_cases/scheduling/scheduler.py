"""The state of the scheduler."""

from dataclasses import dataclass

from application.ports.scheduling import BeatStore, SchedulerStatus


@dataclass(frozen=True, slots=True)
class GetSchedulerStatus:
    """Return the leading beat and the state of the scheduler."""

    store: BeatStore

    async def __call__(self) -> SchedulerStatus:
        return await self.store.status()
