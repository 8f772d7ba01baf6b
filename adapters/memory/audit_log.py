"""The audit log in memory."""

from collections.abc import Sequence
from datetime import timedelta

from application.paging import Cursor, Slice
from application.ports.audit_log import AuditFilter, AuditLog
from application.ports.system import Clock
from domain.audit_log import AuditEntry, AuditId


class MemoryAuditLog(AuditLog):
    """Every entry of the last `retention`."""

    def __init__(self, retention: timedelta, clock: Clock) -> None:
        self._entries: dict[AuditId, AuditEntry] = {}
        self._retention = retention
        self._clock = clock

    async def prepare(self) -> None:
        return

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        for entry in entries:
            self._entries.setdefault(entry.id, entry)

    async def find(
        self, criteria: AuditFilter, *, after: Cursor | None, limit: int
    ) -> Slice[AuditEntry]:
        oldest = self._clock.now() - self._retention
        found = sorted(
            (e for e in self._entries.values() if e.at > oldest and _matches(criteria, e)),
            key=_place,
            reverse=True,
        )
        following = [entry for entry in found if after is None or _place(entry) < after]
        records = following[:limit]
        return Slice(records, _place(records[-1]) if len(following) > limit else None)


def _place(entry: AuditEntry) -> Cursor:
    return Cursor(entry.at, entry.id)


def _matches(criteria: AuditFilter, entry: AuditEntry) -> bool:
    return (
        criteria.actor in {None, entry.actor}
        and (criteria.concerned is None or criteria.concerned in entry.concerned)
        and (criteria.action is None or _is_called(entry.action, criteria.action))
        and criteria.target in {None, entry.target}
        and criteria.outcome in {None, entry.outcome}
        and (criteria.since is None or entry.at >= criteria.since)
        and (criteria.until is None or entry.at < criteria.until)
    )


def _is_called(action: str, wanted: str) -> bool:
    return action == wanted or (wanted.endswith(".") and action.startswith(wanted))
