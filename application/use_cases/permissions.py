"""The catalogue of routes: a permission for each route of the HTTP entrypoint."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWorkFactory
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import ClientInfo
from domain.permissions import Permission, PermissionChange, PermissionChangeKind, Route


@dataclass(frozen=True, slots=True)
class SyncRoutes:
    """Make the catalogue equal to the routes of the application; many workers may do so at once."""

    uow: UnitOfWorkFactory
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit

    async def __call__(self, routes: Sequence[Route]) -> None:
        async with self.uow() as uow:
            changes = await uow.permissions.sync(
                routes, ids=[self.ids.new() for _ in routes], at=self.clock.now()
            )
            if changes:
                await self.audit(
                    uow, "permissions.changed", ClientInfo(address=""), details=_codes(changes)
                )
            await uow.commit()


def _codes(changes: Sequence[PermissionChange]) -> dict[str, object]:
    """Return the codes of changed permissions by kind of change."""
    codes = {
        kind: sorted(change.after.route.code.value for change in changes if change.kind is kind)
        for kind in PermissionChangeKind
    }
    return {kind.value: those for kind, those in codes.items() if those}


@dataclass(frozen=True, slots=True)
class ListPermissions:
    """Show the catalogue, removed routes too."""

    uow: UnitOfWorkFactory

    async def __call__(self) -> Sequence[Permission]:
        async with self.uow() as uow:
            return await uow.permissions.all()
