"""What can be scheduled, and who schedules it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from application.ports.registered_tasks import OfferedTask
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.scheduling.registered_tasks import RegisteredTask


@dataclass(frozen=True, slots=True)
class OfferTasks:
    """Say what a worker knows, and that it lives: when it starts, and each minute from then on."""

    uow: UnitOfWorkFactory
    lasts: timedelta = timedelta(minutes=3)
    """Far longer than it takes until a worker that lives says so again."""

    async def __call__(self, worker: str, tasks: Sequence[RegisteredTask]) -> None:
        async with self.uow() as uow:
            await uow.registered_tasks.offer(worker, tasks, lasts=self.lasts)
            await uow.commit()


@dataclass(frozen=True, slots=True)
class WithdrawTasks:
    """Say that a worker has ended."""

    uow: UnitOfWorkFactory

    async def __call__(self, worker: str) -> None:
        async with self.uow() as uow:
            await uow.registered_tasks.withdraw(worker)
            await uow.commit()


@dataclass(frozen=True, slots=True)
class ListTasks:
    """Show every task that a worker offers, or offered lately; none before the first worker was started."""

    uow: UnitOfWorkFactory

    async def __call__(self) -> Sequence[OfferedTask]:
        async with self.uow() as uow:
            return await uow.registered_tasks.all()
