"""What documents need from outside: the outbox in the relational store, the audit log behind it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.paging import Cursor, Slice
from domain.documents import AuditEntry, AuditId, AuditOutcome
from domain.identity import UserId


class Outbox(Protocol):
    """Audit entries of one unit of work on their way to the audit log."""

    async def add(self, entry: AuditEntry) -> None:
        """Keep an entry until it is delivered; it exists exactly if the unit of work commits."""
        ...

    async def take(self, most: int) -> Sequence[AuditEntry]:
        """Return the oldest entries that no other unit of work has taken, and hold them until this one ends."""
        ...

    async def remove(self, ids: Collection[AuditId]) -> None:
        """Forget delivered entries."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries to find; each field narrows."""

    actor: UserId | None = None
    action: str | None = None
    """Exact, or a prefix that ends with a dot: `users.` finds `users.created`."""
    target: str | None = None
    outcome: AuditOutcome | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditLog(Protocol):
    """Everything that was done, append-only."""

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Store entries; one that is there already, by its id, stays as it is. Raise `Unavailable`."""
        ...

    async def find(
        self, which: AuditFilter, *, after: Cursor | None, most: int
    ) -> Slice[AuditEntry]:
        """Return entries, newest first, going on after a cursor."""
        ...
