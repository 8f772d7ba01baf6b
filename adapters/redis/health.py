"""Whether Redis answers."""

import asyncio
from collections.abc import Mapping

from redis import exceptions

from adapters.reasons import MAYBE_NO_TLS, NO_ANSWER
from adapters.redis.client import RedisClient, RedisServers
from application.ports.health import Probe
from domain.errors import Unavailable


class RedisProbe(Probe):
    """Sends PING, to each master of a cluster. The address of one server must not be that of a node of a cluster."""

    name = "redis"
    required = True
    in_cluster = "it is a node of a Redis Cluster, whose address begins with redis+cluster:// or rediss+cluster://"

    def __init__(self, client: RedisServers) -> None:
        self._client = client
        self._is_asked_for_its_cluster = isinstance(client, RedisClient)

    async def check(self) -> None:
        try:
            servers = await self._client.servers()
            await asyncio.gather(*(server.execute_command("PING") for server in servers))
        except Unavailable as error:
            # One without TLS waits for the end of what it takes for a command.
            if error.reason == NO_ANSWER and self._client.is_encrypted:
                raise Unavailable(error.dependency, reason=MAYBE_NO_TLS) from error
            raise
        if self._is_asked_for_its_cluster:
            if any([(await info(each, "cluster")).get("cluster_enabled") for each in servers]):
                raise Unavailable("Redis", reason=self.in_cluster)
            self._is_asked_for_its_cluster = False


class JobRedisProbe(RedisProbe):
    """The same for a broker that is another Redis, which only jobs need."""

    name = "broker"
    required = False
    in_cluster = "it is a node of a Redis Cluster, and jobs need a Redis of their own"


async def info(server: RedisClient, section: str) -> Mapping[str, object]:
    """Return a section of INFO; nothing if the server does not tell it."""
    try:
        answer: Mapping[str, object] = await server.info(section)
    except (exceptions.ResponseError, Unavailable):  # not for this user, or not from this provider
        return {}
    return answer
