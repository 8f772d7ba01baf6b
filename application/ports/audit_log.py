"""The audit log: everything that was done, append-only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.paging import Cursor, Slice
from domain.audit_log import AuditEntry, AuditOutcome
from domain.identity import UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """The entries to find; all given fields must match."""

    actor: UserId | None = None
    concerned: UserId | None = None
    """The user who did it, or the user it was done to."""
    action: str | None = None
    """An exact action, or a prefix that ends with a dot: `users.` finds `users.created`."""
    target: str | None = None
    outcome: AuditOutcome | None = None
    since: datetime | None = None
    """Earliest time, inclusive, aware."""
    until: datetime | None = None
    """Latest time, exclusive, aware."""


class AuditLog(Protocol):
    """Everything that was done, append-only. Each method raises `Unavailable` if the store is down or slow."""

    async def prepare(self) -> None:
        """Create the indexes, and the one that deletes entries after the retention time of the settings.

        Any number of processes may call this at once, and repeatedly.
        """
        ...

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Store entries durably; an entry whose id exists already is skipped.

        After `Unavailable` some of them may be stored: append all of them again.
        """
        ...

    async def find(
        self, criteria: AuditFilter, *, after: Cursor | None, limit: int
    ) -> Slice[AuditEntry]:
        """Return at most `limit` entries after the cursor, newest first (`at`, then `id`)."""
        ...
