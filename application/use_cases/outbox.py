"""The delivery of audit entries from the outbox to the audit log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from application.ports.audit_log import AuditLog
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.audit_log import AuditEntry, AuditId
from domain.errors import Unavailable


@dataclass(frozen=True, slots=True)
class DeliverOutbox:
    """Deliver entries from the outbox to the audit log.

    Delivery is at least once: entries are deleted after they were stored, and the log stores a repeated entry once.
    """

    uow: UnitOfWorkFactory
    log: AuditLog
    batch: int = 200

    async def __call__(self) -> int:
        """Return how many were delivered, at most `batch`; raise `Unavailable` and keep them if the log is down.

        If the log refuses an entry for another reason, which is a bug of ours, that entry is kept, all others are
        delivered, and the error of the log is raised.
        """
        async with self.uow() as uow:
            entries = await uow.outbox.take(self.batch)
            if not entries:
                return 0
            refused = await self._append(entries)
            await uow.outbox.remove([entry.id for entry in entries if entry.id not in refused])
            await uow.commit()
        for error in refused.values():
            raise error
        return len(entries)

    async def _append(self, entries: Sequence[AuditEntry]) -> Mapping[AuditId, Exception]:
        """Return the errors of the refused entries."""
        try:
            await self.log.append(entries)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - no error of one entry may hold up the others
            if len(entries) == 1:
                return {entries[0].id: error}
            alone = [await self._append([entry]) for entry in entries]
            return {entry_id: error for each in alone for entry_id, error in each.items()}
        return {}


@dataclass(frozen=True, slots=True)
class DeliverAudit:
    """Deliver the whole outbox at once, for processes that run no relay."""

    deliver: DeliverOutbox

    async def __call__(self) -> int:
        """Return how many entries were delivered; raise the errors of `DeliverOutbox`."""
        await self.deliver.log.prepare()
        delivered = 0
        while count := await self.deliver():
            delivered += count
        return delivered
