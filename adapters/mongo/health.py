"""`Probe` of MongoDB."""

import re

from adapters.mongo.client import MongoClient
from adapters.mongo.errors import unavailable_when_down
from adapters.reasons import MAYBE_NO_TLS, NO_ANSWER
from application.ports.health import Probe
from application.settings import MongoSettings
from domain.errors import Unavailable


class MongoProbe(Probe):
    """Reads a document: a server answers `ping` even to users without any rights."""

    name = "mongo"
    required = False

    def __init__(self, client: MongoClient, settings: MongoSettings) -> None:
        self._entries = client[settings.database]["audit"]
        self._is_encrypted = bool(
            re.search(r"[?&](tls|ssl)=true", settings.url or "", re.IGNORECASE)
        )

    async def check(self) -> None:
        try:
            with unavailable_when_down():
                await self._entries.find_one({}, {"_id": 1})
        except Unavailable as error:
            if error.reason == NO_ANSWER and self._is_encrypted:
                raise Unavailable(error.dependency, reason=MAYBE_NO_TLS) from error
            raise
