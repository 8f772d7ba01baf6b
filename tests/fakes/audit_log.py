"""Audit entries, and audit logs that fail when a test says so."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import TypedDict, Unpack
from uuid import UUID

from adapters.memory.audit_log import MemoryAuditLog
from application.ports.audit_log import AuditFilter, AuditLog
from domain.audit_log import AuditEntry, AuditId, AuditOutcome
from domain.errors import Unavailable
from domain.identity import UserId
from tests.fakes.builders import A_MOMENT
from tests.fakes.clock import MovableClock

ADA, GRACE_HOPPER = UserId(UUID(int=1)), UserId(UUID(int=2))
FOREVER = timedelta(days=10_000)
EVERYTHING = AuditFilter()

_numbers = count(1)


class EntryChanges(TypedDict, total=False):
    """What else may differ."""

    id: AuditId
    action: str
    outcome: AuditOutcome
    actor: UserId | None
    target: str
    address: str
    agent: str
    request_id: str
    details: Mapping[str, object]


def an_entry(at: datetime = A_MOMENT, **changes: Unpack[EntryChanges]) -> AuditEntry:
    """Return an entry whose id nobody else has, unless it is given."""
    return AuditEntry(
        **({"id": AuditId(UUID(int=next(_numbers))), "action": "users.created"} | changes), at=at
    )


async def everything_in(log: AuditLog) -> Sequence[AuditEntry]:
    """Return what is in the log, the newest first."""
    return (await log.find(EVERYTHING, after=None, limit=100_000)).records


class UnsteadyAuditLog(MemoryAuditLog):
    """Memory that is down, frozen, or cannot stand an action when a test says so."""

    def __init__(self) -> None:
        super().__init__(FOREVER, MovableClock())
        self.is_down = False
        self.is_frozen = False
        self.refused: Collection[str] = ()
        self.asked = asyncio.Condition()

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        try:
            if self.is_frozen:
                await asyncio.Event().wait()
            if self.is_down:
                raise Unavailable("MongoDB")
            for entry in entries:
                if entry.action in self.refused:
                    raise ValueError(entry.action)
            await super().append(entries)
        finally:
            async with self.asked:
                self.asked.notify_all()

    async def has(self, *entries: AuditEntry) -> None:
        """Wait until these entries are there."""
        wanted = {entry.id for entry in entries}
        async with asyncio.timeout(10), self.asked:
            await self.asked.wait_for(lambda: wanted <= self._entries.keys())

    async def is_asked(self) -> None:
        """Wait until the next attempt to append."""
        async with asyncio.timeout(10), self.asked:
            await self.asked.wait()
