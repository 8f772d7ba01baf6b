"""The connection to MongoDB. Only this module imports the driver."""

from typing import Any, TypeAlias

from motor.motor_asyncio import AsyncIOMotorClient

from application.settings import MongoSettings

MongoClient: TypeAlias = AsyncIOMotorClient[dict[str, Any]]


def mongo_client(settings: MongoSettings) -> MongoClient:
    """Return a client that connects when it is first used, in the event loop that uses it.

    `settings.timeout` bounds every operation as a whole: choosing a server, connecting, waiting, retrying.
    """
    milliseconds = round(settings.timeout.total_seconds() * 1000)
    return AsyncIOMotorClient(
        settings.url,
        appname="portico",
        timeoutMS=milliseconds,
        # Bounds what no operation waits for: the driver's own watch over the servers.
        connectTimeoutMS=milliseconds,
        serverSelectionTimeoutMS=milliseconds,
        tz_aware=True,
        uuidRepresentation="standard",
    )
