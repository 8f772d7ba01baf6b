"""The audit log in memory."""

from collections.abc import Sequence
from datetime import timedelta

from application.paging import Cursor, Slice
from application.ports.audit_log import AuditFilter, AuditLog
from application.ports.system import Clock
from domain.documents import AuditEntry, AuditId


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
        self, which: AuditFilter, *, after: Cursor | None, most: int
    ) -> Slice[AuditEntry]:
        oldest = self._clock.now() - self._retention
        found = sorted(
            (e for e in self._entries.values() if e.at > oldest and _matches(which, e)),
            key=_place,
            reverse=True,
        )
        following = [entry for entry in found if after is None or _place(entry) < after]
        records = following[:most]
        return Slice(records, _place(records[-1]) if len(following) > most else None)


def _place(entry: AuditEntry) -> Cursor:
    return Cursor(entry.at, entry.id)


def _matches(which: AuditFilter, entry: AuditEntry) -> bool:
    return (
        which.actor in {None, entry.actor}
        and (which.concerned is None or which.concerned in entry.concerned)
        and (which.action is None or _is_called(entry.action, which.action))
        and which.target in {None, entry.target}
        and which.outcome in {None, entry.outcome}
        and (which.since is None or entry.at >= which.since)
        and (which.until is None or entry.at < which.until)
    )


def _is_called(action: str, sought: str) -> bool:
    return action == sought or (sought.endswith(".") and action.startswith(sought))
