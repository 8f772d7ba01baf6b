"""The audit log: recording entries and reading them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from application.paging import Cursor, Slice
from application.ports.audit_log import AuditFilter, AuditLog
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWork
from application.use_cases.caller import Caller, ClientInfo
from domain.audit_log import AuditEntry, AuditId, AuditOutcome, parts_of
from domain.identity import UserId


@dataclass(frozen=True, slots=True)
class RecordAudit:
    """Record an action within its unit of work. The entry exists if and only if that commits."""

    clock: Clock
    ids: IdGenerator
    recorded: asyncio.Event = field(default_factory=asyncio.Event)
    """Wakes up the relay of this process."""

    async def __call__(
        self,
        uow: UnitOfWork,
        action: str,
        client: ClientInfo,
        *,
        actor: UserId | None = None,
        target: str = "",
        outcome: AuditOutcome = AuditOutcome.SUCCESS,
        details: Mapping[str, object] | None = None,
        entry_id: AuditId | None = None,
    ) -> None:
        """Record the action in one entry, or in several if the details are too large for one.

        Details must contain no secrets. With an `entry_id`, recording the same action again changes nothing.
        """
        entries = self.entries(
            action, client, actor=actor, target=target, outcome=outcome, details=details
        )
        if entry_id is not None:
            entries[0] = replace(entries[0], id=entry_id)
        for entry in entries:
            await uow.outbox.add(entry)
        self.recorded.set()

    def entries(
        self,
        action: str,
        client: ClientInfo,
        *,
        actor: UserId | None = None,
        target: str = "",
        outcome: AuditOutcome = AuditOutcome.SUCCESS,
        details: Mapping[str, object] | None = None,
    ) -> list[AuditEntry]:
        """Return the entries of an action, at least one, for a caller who stores them and sets `recorded`."""
        at = self.clock.now()
        return [
            AuditEntry(
                id=AuditId(self.ids.new()),
                at=at,
                action=action,
                outcome=outcome,
                actor=actor,
                target=target,
                address=client.address,
                agent=client.agent or "",
                request_id=client.request_id,
                details=part,
            )
            for part in parts_of(details or {})
        ]


def difference(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """Return the changed values as audit details; empty if nothing changed."""
    return {
        key: {"from": before[key], "to": after[key]} for key in after if before[key] != after[key]
    }


@dataclass(frozen=True, slots=True)
class ListAudit:
    """List audit entries, newest first."""

    log: AuditLog

    async def __call__(
        self, criteria: AuditFilter, *, after: Cursor | None, limit: int
    ) -> Slice[AuditEntry]:
        return await self.log.find(criteria, after=after, limit=limit)


@dataclass(frozen=True, slots=True)
class ListOwnActivity:
    """List the audit entries of the caller, newest first.

    Callers see the address of failed log-ins to their account, but not the addresses of other users.
    """

    log: AuditLog

    async def __call__(
        self, caller: Caller, *, after: Cursor | None, limit: int
    ) -> Slice[AuditEntry]:
        criteria = AuditFilter(concerned=caller.user_id)
        found = await self.log.find(criteria, after=after, limit=limit)
        return replace(found, records=[_as_seen_by(caller, entry) for entry in found.records])


def _as_seen_by(caller: Caller, entry: AuditEntry) -> AuditEntry:
    if entry.actor in {None, caller.user_id}:
        return entry
    return replace(entry, address="", agent="", request_id="")
