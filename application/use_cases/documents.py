"""The audit log: how entries get into it, and who reads them."""

from collections.abc import Mapping
from dataclasses import dataclass

from application.paging import Cursor, Slice
from application.ports.documents import AuditFilter, AuditLog
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.use_cases.caller import Origin
from domain.documents import AuditEntry, AuditId, AuditOutcome
from domain.identity import UserId


@dataclass(frozen=True, slots=True)
class RecordAudit:
    """Note within a unit of work what it does; the entry exists exactly if that commits."""

    clock: Clock
    ids: IdGenerator

    async def __call__(
        self,
        uow: UnitOfWork,
        action: str,
        origin: Origin,
        *,
        actor: UserId | None = None,
        target: str = "",
        outcome: AuditOutcome = AuditOutcome.SUCCESS,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """`details` are JSON values without secrets."""
        await uow.outbox.add(
            AuditEntry(
                id=AuditId(self.ids.new()),
                at=self.clock.now(),
                action=action,
                outcome=outcome,
                actor=actor,
                target=target,
                address=origin.address,
                agent=(origin.agent or "")[:256],
                request_id=origin.request_id,
                details=details or {},
            )
        )


@dataclass(frozen=True, slots=True)
class DeliverOutbox:
    """Bring entries from the outbox to the audit log.

    At least once: they are removed after they arrived, and an entry that arrives twice is stored once.
    """

    uow: UnitOfWorkFactory
    log: AuditLog
    batch: int = 500

    async def __call__(self) -> int:
        """Return how many were delivered, up to `batch`; raise `Unavailable` and keep them if the log is down."""
        async with self.uow() as uow:
            entries = await uow.outbox.take(self.batch)
            if entries:
                await self.log.append(entries)
                await uow.outbox.remove([entry.id for entry in entries])
                await uow.commit()
        return len(entries)


@dataclass(frozen=True, slots=True)
class ListAudit:
    """Show what was done, newest first."""

    log: AuditLog

    async def __call__(
        self, which: AuditFilter, *, after: Cursor | None, most: int
    ) -> Slice[AuditEntry]:
        return await self.log.find(which, after=after, most=most)
