"""Permissions in memory."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from adapters.memory.store import MemoryTable, MemoryTransaction
from application.ports.permissions import PermissionRepository
from domain.permissions import Permission, PermissionChange, PermissionId, Route, reconcile


class MemoryPermissionRepository(PermissionRepository):
    """Permissions of one transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self._permissions: MemoryTable[PermissionId, Permission] = transaction.table(Permission)

    async def sync(
        self, routes: Sequence[Route], *, ids: Sequence[UUID], at: datetime
    ) -> Sequence[PermissionChange]:
        await self._transaction.lock("permissions")
        changes = reconcile(await self.all(), routes, ids=ids, at=at)
        for change in changes:
            self._permissions.write(change.after.id, change.after)
        return changes

    async def all(self) -> Sequence[Permission]:
        return sorted(self._permissions.where(), key=lambda p: (p.route.path, p.route.method))

    async def missing(self, codes: Collection[str]) -> Collection[str]:
        present = self._permissions.where(lambda permission: permission.removed_at is None)
        return set(codes) - {permission.route.code.value for permission in present}
