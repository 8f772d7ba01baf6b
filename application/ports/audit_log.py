"""The audit log: everything that was done, append-only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.paging import Cursor, Slice
from domain.documents import AuditEntry, AuditOutcome
from domain.identity import UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries to find; each field narrows."""

    actor: UserId | None = None
    concerned: UserId | None = None
    """Who did it, or whom it was done to."""
    action: str | None = None
    """Exact, or a prefix that ends with a dot: `users.` finds `users.created`."""
    target: str | None = None
    outcome: AuditOutcome | None = None
    since: datetime | None = None
    """The first instant to find, aware."""
    until: datetime | None = None
    """The first instant that is too late, aware."""


class AuditLog(Protocol):
    """Everything that was done, append-only. Each method raises `Unavailable` if the store is down or slow."""

    async def prepare(self) -> None:
        """Make the log ready: what finds entries fast, and what forgets them after the time that settings say.

        Any number of processes may do so at once, and as often as they like.
        """
        ...

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Store entries durably; one that is there already, by its id, stays as it is.

        After `Unavailable` some of them may be there: append them all again.
        """
        ...

    async def find(
        self, criteria: AuditFilter, *, after: Cursor | None, limit: int
    ) -> Slice[AuditEntry]:
        """Return up to `most` entries, newest first (`at`, then `id`), going on after a cursor."""
        ...
