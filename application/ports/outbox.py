"""The outbox: audit entries that commit with a unit of work and are delivered later."""

from collections.abc import Collection, Sequence
from typing import Protocol

from domain.documents import AuditEntry, AuditId


class Outbox(Protocol):
    """Audit entries of one unit of work on their way to the audit log."""

    async def add(self, entry: AuditEntry) -> None:
        """Keep an entry until it is delivered; it exists exactly if the unit of work commits."""
        ...

    async def take(self, limit: int) -> Sequence[AuditEntry]:
        """Return the oldest entries that no other unit of work has taken, and hold them until this one ends."""
        ...

    async def remove(self, ids: Collection[AuditId]) -> None:
        """Forget delivered entries."""
        ...
