"""The outbox: audit entries that commit with a unit of work and are delivered later."""

from collections.abc import Collection, Sequence
from typing import Protocol

from domain.audit_log import AuditEntry, AuditId


class Outbox(Protocol):
    """Audit entries of one unit of work on their way to the audit log."""

    async def add(self, entry: AuditEntry) -> None:
        """Store an entry until it is delivered. It exists if and only if the unit of work commits."""
        ...

    async def take(self, limit: int) -> Sequence[AuditEntry]:
        """Lock and return the oldest entries that no other unit of work has locked, at most `limit`."""
        ...

    async def remove(self, ids: Collection[AuditId]) -> None:
        """Delete delivered entries."""
        ...
