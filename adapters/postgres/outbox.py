"""`Outbox` in the table `audit_outbox`."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Index, Row, Table, Text, Uuid, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from adapters.postgres.table_gateway import any_of
from adapters.postgres.tables import metadata
from adapters.postgres.transaction import Transaction
from application.ports.outbox import BACKLOG_LIMIT, Backlog, Outbox
from domain.audit_log import AuditEntry, AuditId, AuditOutcome
from domain.identity import UserId

audit_outbox = Table(
    "audit_outbox",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor", Uuid),  # no foreign key: entries outlive users
    Column("target", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    # Handed on as it is; JSONB would change numbers.
    Column("details", JSON, nullable=False),
    Index("ix_audit_outbox_at_id", "at", "id"),
)


_ADD = insert(audit_outbox).on_conflict_do_nothing()


class PostgresOutbox(Outbox):
    """A queue: `take` skips entries that other units of work have locked."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, entry: AuditEntry) -> None:
        await self._transaction.write(_ADD, [to_row(entry)])

    async def take(self, limit: int) -> Sequence[AuditEntry]:
        rows = await self._transaction.write(
            select(audit_outbox)
            .order_by(audit_outbox.c.at, audit_outbox.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [to_entry(row) for row in rows]

    async def backlog(self) -> Backlog:
        oldest = audit_outbox.c.at
        waiting = select(oldest).order_by(oldest).limit(BACKLOG_LIMIT).subquery()
        found = await self._transaction.read(
            select(func.count().label("entries"), func.min(waiting.c.at).label("oldest"))
        )
        row = found.one()
        return Backlog(row.entries, row.oldest)

    async def remove(self, ids: Collection[AuditId]) -> None:
        await self._transaction.write(delete(audit_outbox).where(any_of(audit_outbox.c.id, ids)))


def to_row(entry: AuditEntry) -> dict[str, Any]:
    """Return the columns that hold `entry`."""
    return {
        "id": entry.id,
        "at": entry.at,
        "action": entry.action,
        "outcome": entry.outcome.value,
        "actor": entry.actor,
        "target": entry.target,
        "address": entry.address,
        "agent": entry.agent,
        "request_id": entry.request_id,
        "details": entry.details,
    }


def to_entry(row: Row[Any]) -> AuditEntry:
    """Return the entry that a row of `audit_outbox` holds."""
    return AuditEntry(
        id=AuditId(row.id),
        at=row.at,
        action=row.action,
        outcome=AuditOutcome(row.outcome),
        actor=None if row.actor is None else UserId(row.actor),
        target=row.target,
        address=row.address,
        agent=row.agent,
        request_id=row.request_id,
        details=row.details,
    )
