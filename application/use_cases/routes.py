"""The catalogue of routes: what the HTTP entrypoint offers, as permissions."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.routes import Permission, Route


@dataclass(frozen=True, slots=True)
class SyncRoutes:
    """Make the catalogue what the application offers; any number of workers may do so at once."""

    uow: UnitOfWorkFactory
    clock: Clock
    ids: IdGenerator

    async def __call__(self, routes: Sequence[Route]) -> None:
        async with self.uow() as uow:
            await uow.permissions.sync(
                routes, ids=[self.ids.new() for _ in routes], at=self.clock.now()
            )
            await uow.commit()


@dataclass(frozen=True, slots=True)
class ListPermissions:
    """Show the catalogue, removed routes too."""

    uow: UnitOfWorkFactory

    async def __call__(self) -> Sequence[Permission]:
        async with self.uow() as uow:
            return await uow.permissions.all()
