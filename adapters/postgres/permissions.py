"""`PermissionRepository` in the table `permissions`."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, Row, Table, Text, UniqueConstraint, Uuid, func, select

from adapters.postgres.table_gateway import OrderBy, TableGateway
from adapters.postgres.tables import AdvisoryLock, Key, metadata
from adapters.postgres.transaction import Transaction
from application.ports.permissions import PermissionRepository
from domain.permissions import Permission, PermissionChange, PermissionId, Route, reconcile

permissions = Table(
    "permissions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("method", Key, nullable=False),
    Column("path", Key, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("first_seen_at", DateTime(timezone=True), nullable=False),
    Column("removed_at", DateTime(timezone=True)),
    UniqueConstraint("method", "path"),
)


class PostgresPermissionRepository(PermissionRepository):
    """Permissions of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._gateway = TableGateway(transaction, permissions, to_row=to_row, of_row=to_permission)

    async def sync(
        self, routes: Sequence[Route], *, ids: Sequence[UUID], at: datetime
    ) -> Sequence[PermissionChange]:
        await self._transaction.write(select(func.pg_advisory_xact_lock(AdvisoryLock.PERMISSIONS)))
        changes = reconcile(await self.all(), routes, ids=ids, at=at)
        for change in changes:
            if change.before is not None:
                await self._gateway.save(change.after)
        await self._gateway.add(*(change.after for change in changes if change.before is None))
        return changes

    async def all(self) -> Sequence[Permission]:
        return await self._gateway.all(order_by=OrderBy((permissions.c.path, permissions.c.method)))

    async def missing(self, codes: Collection[str]) -> Collection[str]:
        present = {p.route.code.value for p in await self.all() if p.removed_at is None}
        return set(codes) - present


def to_row(permission: Permission) -> dict[str, Any]:
    """Return the columns that hold `permission`."""
    return {
        "id": permission.id,
        "method": permission.route.method,
        "path": permission.route.path,
        "name": permission.route.name,
        "description": permission.route.description,
        "tag": permission.route.tag,
        "first_seen_at": permission.first_seen_at,
        "removed_at": permission.removed_at,
    }


def to_permission(row: Row[Any]) -> Permission:
    """Return the permission that a row of `permissions` holds."""
    return Permission(
        id=PermissionId(row.id),
        route=Route(
            method=row.method,
            path=row.path,
            name=row.name,
            description=row.description,
            tag=row.tag,
        ),
        first_seen_at=row.first_seen_at,
        removed_at=row.removed_at,
    )
