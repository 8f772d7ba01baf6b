"""Sequences in MongoDB: one document per counter, in the collection `sequences`."""

from contextlib import suppress

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from adapters.mongo.client import MongoClient
from adapters.mongo.errors import unavailable_when_down
from application.ports.sequences import Sequences
from application.settings import MongoSettings
from domain.errors import PreconditionFailed
from domain.sequences import (
    HIGHEST,
    SequenceExhausted,
    SequenceKey,
    SequenceState,
)


class MongoSequences(Sequences):
    """The `_id` is the whole key, as one text: its index is the only one, and the order of conditions is irrelevant."""

    def __init__(self, client: MongoClient, settings: MongoSettings) -> None:
        self._sequences = client[settings.database]["sequences"]

    async def next(self, key: SequenceKey, *, count: int = 1) -> range:
        with unavailable_when_down():
            last = await self._increase(key, count)
            if last is None:
                # No upsert: of many first callers, some would get errors, or nothing, for numbers that are gone.
                await self._create(key, 0)
                last = await self._increase(key, count)
        if last is None:
            raise SequenceExhausted
        return range(last - count + 1, last + 1)

    async def find(self, key: SequenceKey) -> SequenceState | None:
        with unavailable_when_down():
            found = await self._sequences.find_one({"_id": key.text})
        return SequenceState(key, int(found["value"])) if found else None

    async def reset(self, key: SequenceKey, value: int, *, expected: int) -> None:
        with unavailable_when_down():
            done = await self._sequences.update_one(
                {"_id": key.text, "value": expected}, {"$set": {"value": value}}
            )
            was_reset = bool(done.matched_count)
            if not was_reset and expected == 0:
                was_reset = await self._create(key, value)
        if not was_reset:
            raise PreconditionFailed

    async def delete(self, key: SequenceKey, *, expected: int) -> None:
        with unavailable_when_down():
            done = await self._sequences.delete_one({"_id": key.text, "value": expected})
        if not done.deleted_count:
            raise PreconditionFailed

    async def _increase(self, key: SequenceKey, count: int) -> int | None:
        # One find_one_and_update: read-then-write would give numbers out twice.
        found = await self._sequences.find_one_and_update(
            {"_id": key.text, "value": {"$lte": HIGHEST - count}},
            {"$inc": {"value": count}},
            return_document=ReturnDocument.AFTER,
        )
        return int(found["value"]) if found else None

    async def _create(self, key: SequenceKey, value: int) -> bool:
        fields = {"name": key.name.value, "conditions": dict(key.conditions), "value": value}
        with suppress(DuplicateKeyError):
            await self._sequences.insert_one({"_id": key.text, **fields})
            return True
        return False
