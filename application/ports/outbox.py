"""The outbox: audit entries that commit with a unit of work and are delivered later."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.audit_log import AuditEntry, AuditId


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for delivery."""

    entries: int
    """How many, at most `BACKLOG_LIMIT`."""
    oldest: datetime | None
    """Since when the oldest of them waits."""


BACKLOG_LIMIT = 100_000
"""How many entries are counted: to count more would take longer than a scrape may."""


class Outbox(Protocol):
    """Audit entries of one unit of work on their way to the audit log."""

    async def add(self, entry: AuditEntry) -> None:
        """Store an entry until it is delivered. It exists if and only if the unit of work commits."""
        ...

    async def take(self, limit: int) -> Sequence[AuditEntry]:
        """Lock and return the oldest entries that no other unit of work has locked, at most `limit`."""
        ...

    async def backlog(self) -> Backlog:
        """Return what waits, whether another unit of work has locked it or not."""
        ...

    async def remove(self, ids: Collection[AuditId]) -> None:
        """Delete delivered entries."""
        ...
