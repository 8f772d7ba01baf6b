"""Indexes, made at start by whichever process comes first."""

from collections.abc import Sequence
from datetime import timedelta

import pymongo
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from adapters.mongo.client import MongoCollection
from adapters.mongo.errors import unavailable_when_down

_PATIENCE = timedelta(minutes=1)
"""Longer than any request would wait: there may be documents already."""

# The server has another name for it if the names of the two indexes differ.
_DIFFERS = frozenset({85, 86})


def forgotten_after(retention: timedelta, *, since: str) -> IndexModel:
    """Return the index that removes documents some time, about a minute, after `since` is `retention` ago."""
    seconds = int(retention.total_seconds())
    return IndexModel([(since, 1)], name=f"{since}_ttl", expireAfterSeconds=seconds)


async def ensure_indexes(collection: MongoCollection, indexes: Sequence[IndexModel]) -> None:
    """Make what is missing, and give a TTL index its new time. Needs the role dbAdmin for the latter alone."""
    with unavailable_when_down(), pymongo.timeout(_PATIENCE.total_seconds()):
        for index in indexes:
            try:
                await collection.create_indexes([index])
            except OperationFailure as error:
                wanted = index.document
                if error.code not in _DIFFERS or "expireAfterSeconds" not in wanted:
                    raise
                change = {key: wanted[key] for key in ("name", "expireAfterSeconds")}
                await collection.database.command("collMod", collection.name, index=change)
