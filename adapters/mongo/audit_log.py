"""The audit log in MongoDB."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pymongo
from pymongo import IndexModel
from pymongo.errors import BulkWriteError

from adapters.mongo.client import Document, MongoClient
from adapters.mongo.errors import DUPLICATE, unavailable_when_down
from adapters.mongo.indexes import ensure_indexes, forgotten_after
from application.paging import Cursor, Slice
from application.ports.audit_log import AuditFilter, AuditLog
from application.settings import MongoSettings
from domain.audit_log import AuditEntry, AuditId, AuditOutcome
from domain.instants import from_microseconds, to_microseconds

# Every list is one equality, or none, and a range of places: the shape of one index.
_INDEXES = (
    IndexModel([("place", 1)]),
    IndexModel([("actor", 1), ("place", 1)]),
    IndexModel([("target", 1), ("place", 1)]),
    IndexModel([("concerned", 1), ("place", 1)]),
    IndexModel([("actions", 1), ("place", 1)]),
    # Only failures are rare enough for an index.
    IndexModel(
        [("outcome", 1), ("place", 1)],
        partialFilterExpression={"outcome": AuditOutcome.FAILURE.value},
    ),
)


class MongoAuditLog(AuditLog):
    """One document per entry, in the collection `audit`."""

    def __init__(self, client: MongoClient, settings: MongoSettings, retention: timedelta) -> None:
        self._entries = client[settings.database]["audit"]
        self._timeout = settings.timeout.total_seconds()
        self._retention = retention

    async def prepare(self) -> None:
        forgetting = forgotten_after(self._retention, since="at")
        await ensure_indexes(self._entries, (forgetting, *_INDEXES))

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        if not entries:
            return
        with unavailable_when_down():
            try:
                await self._entries.insert_many(map(to_document, entries), ordered=False)
            except BulkWriteError as error:
                unsure = error.details["writeConcernErrors"]
                if unsure or {one["code"] for one in error.details["writeErrors"]} != {DUPLICATE}:
                    raise

    async def find(
        self, criteria: AuditFilter, *, after: Cursor | None, limit: int
    ) -> Slice[AuditEntry]:
        first = _place(criteria.since) if criteria.since else _FIRST
        end = _place(criteria.until) if criteria.until else _END
        if after:
            end = min(end, _place(after.at, after.id))
        with unavailable_when_down(), pymongo.timeout(self._timeout):
            cursor = self._entries.find(
                {**_equalities(criteria), "place": {"$gte": first, "$lt": end}},
                sort=[("place", -1)],
                limit=limit + 1,
            )
            found = await cursor.to_list(limit + 1)
        records = [to_entry(document) for document in found[:limit]]
        more = len(found) > limit
        return Slice(records, Cursor(records[-1].at, records[-1].id) if more else None)


def to_document(entry: AuditEntry) -> Document:
    """Return the stored document. `place` orders entries by time, in microseconds, and by id."""
    return {
        "_id": entry.id,
        "place": _place(entry.at, entry.id),
        # For the TTL index and for people. A BSON time has milliseconds.
        "at": entry.at,
        "action": entry.action,
        "actions": _prefixes(entry.action),
        "outcome": entry.outcome.value,
        "actor": entry.actor,
        "target": entry.target,
        "concerned": sorted(entry.concerned),
        "address": entry.address,
        "agent": entry.agent,
        "request_id": entry.request_id,
        "details": entry.details,
    }


def to_entry(document: Document) -> AuditEntry:
    """Return the entry that `to_document` was given."""
    return AuditEntry(
        id=AuditId(document["_id"]),
        at=_time(document["place"]),
        action=document["action"],
        outcome=AuditOutcome(document["outcome"]),
        actor=document["actor"],
        target=document["target"],
        address=document["address"],
        agent=document["agent"],
        request_id=document["request_id"],
        details=document["details"],
    )


def _equalities(criteria: AuditFilter) -> dict[str, object]:
    return {
        name: value
        for name, value in (
            ("actor", criteria.actor),
            ("target", criteria.target),
            ("concerned", criteria.concerned),
            ("actions", criteria.action),
            ("outcome", criteria.outcome and criteria.outcome.value),
        )
        if value is not None
    }


def _prefixes(action: str) -> list[str]:
    """Return all values that find an action: `a.b.c` gives `a.`, `a.b.` and `a.b.c`."""
    dots = (position + 1 for position, letter in enumerate(action) if letter == ".")
    return [*(action[:end] for end in dots), action]


# --- places: microseconds since 1970, 8 bytes, and the id, 16 bytes; they compare as (at, id) do ---
# A time of BSON has milliseconds, and MongoDB compares no pairs: one value is one range of one index.

_FIRST_ID = UUID(int=0)
_FIRST, _END = (
    bytes(24),
    b"\xff" * 24,
)  # MongoDB compares the lengths of binaries before their bytes


def _place(at: datetime, entry_id: UUID = _FIRST_ID) -> bytes:
    return max(0, to_microseconds(at)).to_bytes(8, "big") + entry_id.bytes


def _time(place: bytes) -> datetime:
    return from_microseconds(int.from_bytes(place[:8], "big"))
