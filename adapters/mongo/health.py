"""`Probe` of MongoDB."""

from adapters.mongo.client import MongoClient
from application.ports.health import Probe


class MongoProbe(Probe):
    """Asks the server whether it is there."""

    name = "mongo"

    def __init__(self, client: MongoClient) -> None:
        self._client = client

    async def check(self) -> None:
        await self._client.admin.command("ping")
