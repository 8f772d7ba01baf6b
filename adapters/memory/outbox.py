"""The outbox in memory."""

from collections.abc import Collection, Sequence

from adapters.memory.store import MemoryTable, MemoryTransaction
from application.ports.outbox import BACKLOG_LIMIT, Backlog, Outbox
from domain.audit_log import AuditEntry, AuditId


class MemoryOutbox(Outbox):
    """A queue: `take` skips entries that other units of work have locked."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self._entries: MemoryTable[AuditId, AuditEntry] = transaction.table(AuditEntry)

    async def add(self, entry: AuditEntry) -> None:
        if self._entries.find(entry.id) is None:
            self._entries.write(entry.id, entry)

    async def take(self, limit: int) -> Sequence[AuditEntry]:
        free = self._entries.where(lambda entry: self._transaction.is_free(("entry", entry.id)))
        taken = sorted(free, key=lambda entry: (entry.at, entry.id))[:limit]
        await self._transaction.lock(*(("entry", entry.id) for entry in taken))
        return taken

    async def backlog(self) -> Backlog:
        waiting = sorted(entry.at for entry in self._entries.where(lambda _: True))
        return Backlog(min(len(waiting), BACKLOG_LIMIT), next(iter(waiting), None))

    async def remove(self, ids: Collection[AuditId]) -> None:
        for entry_id in ids:
            self._entries.remove(entry_id)
