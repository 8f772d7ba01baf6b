"""Indexes, which the first process creates at its start."""

from collections.abc import Sequence
from datetime import timedelta

import pymongo
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from adapters.mongo.client import MongoCollection
from adapters.mongo.errors import unavailable_when_down

_PATIENCE = timedelta(minutes=1)
"""Longer than a request would wait, because there may be many documents."""

# The server has another name for it if the names of the two indexes differ.
_DIFFERS = frozenset({85, 86})


def forgotten_after(retention: timedelta, *, since: str) -> IndexModel:
    """Return the TTL index that deletes documents about a minute after `since` is older than `retention`."""
    seconds = int(retention.total_seconds())
    return IndexModel([(since, 1)], name=f"{since}_ttl", expireAfterSeconds=seconds)


async def ensure_indexes(collection: MongoCollection, indexes: Sequence[IndexModel]) -> None:
    """Create missing indexes, within a minute; change the time of a TTL index, for which the role dbAdmin is needed."""
    with unavailable_when_down():
        await collection.database.command(
            "ping"
        )  # a server that is away does not answer later either
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
