"""The connection to MongoDB. Only this module imports Motor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
)

from adapters.mongo.errors import unavailable_when_down
from application.settings import MongoSettings

Document: TypeAlias = dict[str, Any]
MongoClient: TypeAlias = AsyncIOMotorClient[Document]
MongoCollection: TypeAlias = AsyncIOMotorCollection[Document]
MongoSession: TypeAlias = AsyncIOMotorClientSession


def mongo_client(settings: MongoSettings) -> MongoClient:
    """Return a client that connects when it is first used, in the event loop that uses it.

    `settings.timeout` bounds every operation as a whole: choosing a server, connecting, waiting, retrying. While no
    server is there the driver looks at its clock every half second only (`MIN_HEARTBEAT_INTERVAL`).
    """
    milliseconds = round(settings.timeout.total_seconds() * 1000)
    return AsyncIOMotorClient(
        settings.url,
        appname="portico",
        timeoutMS=milliseconds,
        # For the driver's monitoring of the servers, for which no operation waits.
        connectTimeoutMS=milliseconds,
        serverSelectionTimeoutMS=milliseconds,
        # The outbox deletes what is acknowledged here, so it must survive the loss of the primary.
        w="majority",
        tz_aware=True,
        uuidRepresentation="standard",
    )


@asynccontextmanager
async def transaction(client: MongoClient) -> AsyncIterator[MongoSession]:
    """Do what the block does with the session together at its end, or not at all if an error leaves the block.

    Raise `Unavailable` if it could not be done; only if the server is lost in the very moment of the end does
    that leave open which of the two happened. Needs a replica set.
    """
    with unavailable_when_down():
        async with await client.start_session() as session, session.start_transaction():
            yield session
