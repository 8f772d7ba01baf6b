"""What can be scheduled, and who schedules it."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.ports.scheduling import BeatStore, SchedulerStatus
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.scheduling.signatures import RegisteredTask


@dataclass(frozen=True, slots=True)
class SyncTasks:
    """Make the catalogue what workers and beats of this version know; any number of them may do so at once."""

    uow: UnitOfWorkFactory

    async def __call__(self, tasks: Sequence[RegisteredTask]) -> None:
        async with self.uow() as uow:
            await uow.task_catalogue.replace(tasks)
            await uow.commit()


@dataclass(frozen=True, slots=True)
class ListTasks:
    """Show every task that can be scheduled; none before the first worker or beat was started."""

    uow: UnitOfWorkFactory

    async def __call__(self) -> Sequence[RegisteredTask]:
        async with self.uow() as uow:
            return await uow.task_catalogue.all()


@dataclass(frozen=True, slots=True)
class GetSchedulerStatus:
    """Show which beat leads, and how things are."""

    store: BeatStore

    async def __call__(self) -> SchedulerStatus:
        return await self.store.status()
