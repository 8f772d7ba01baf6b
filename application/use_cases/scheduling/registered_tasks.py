"""The tasks that workers offer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from application.ports.registered_tasks import OfferedTask
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.scheduling.registered_tasks import RegisteredTask


@dataclass(frozen=True, slots=True)
class OfferTasks:
    """Register the tasks of a live worker: when it starts, and then every minute."""

    uow: UnitOfWorkFactory
    lasts: timedelta = timedelta(minutes=3)
    """Longer than the interval at which a live worker registers again."""

    async def __call__(self, worker: str, tasks: Sequence[RegisteredTask]) -> None:
        async with self.uow() as uow:
            await uow.registered_tasks.offer(worker, tasks, lasts=self.lasts)
            await uow.commit()


@dataclass(frozen=True, slots=True)
class WithdrawTasks:
    """Record that a worker has ended."""

    uow: UnitOfWorkFactory

    async def __call__(self, worker: str) -> None:
        async with self.uow() as uow:
            await uow.registered_tasks.withdraw(worker)
            await uow.commit()


@dataclass(frozen=True, slots=True)
class ListTasks:
    """List the tasks that workers offer, or offered in the last week."""

    uow: UnitOfWorkFactory

    async def __call__(self) -> Sequence[OfferedTask]:
        async with self.uow() as uow:
            return await uow.registered_tasks.all()
