"""Whether Redis answers."""

import asyncio

from adapters.reasons import MAYBE_NO_TLS, NO_ANSWER
from adapters.redis.client import RedisServers
from application.ports.health import Probe
from domain.errors import Unavailable


class RedisProbe(Probe):
    """Sends PING, to each master of a cluster."""

    name = "redis"
    required = True

    def __init__(self, client: RedisServers) -> None:
        self._client = client

    async def check(self) -> None:
        try:
            servers = await self._client.servers()
            await asyncio.gather(*(server.execute_command("PING") for server in servers))
        except Unavailable as error:
            # One without TLS waits for the end of what it takes for a command.
            if error.reason == NO_ANSWER and self._client.is_encrypted:
                raise Unavailable(error.dependency, reason=MAYBE_NO_TLS) from error
            raise
