"""Whether Redis answers."""

from adapters.redis.client import RedisClient
from application.ports.health import Probe


class RedisProbe(Probe):
    """Sends PING."""

    name = "redis"

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def check(self) -> None:
        await self._client.execute_command("PING")
