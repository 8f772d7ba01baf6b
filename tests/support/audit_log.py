"""Audit logs that fail when a test says so."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta

from adapters.memory.audit_log import MemoryAuditLog
from application.ports.audit_log import AuditFilter, AuditLog
from domain.audit_log import AuditEntry
from domain.errors import Unavailable
from tests.support.clock import MovableClock

FOREVER = timedelta(days=10_000)
EVERYTHING = AuditFilter()


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
