"""How Redis is set up, as far as Portico depends on it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from redis import exceptions

from adapters.redis.client import RedisClient, RedisServers, redis_client
from adapters.redis.health import info
from adapters.redis.sentinel import RedisSentinelClient
from application.ports.health import Concern, Inspection, Remark, clock_remark
from application.ports.system import Clock
from application.settings import RedisSettings
from domain.errors import Unavailable


class RedisInspection(Inspection):
    """Asks each server for the time, for what is kept over a restart, and for what happens when memory is full."""

    name = "redis"

    def __init__(self, client: RedisServers, clock: Clock, leeway: timedelta) -> None:
        self._client = client
        self._clock = clock
        self._leeway = leeway

    async def remarks(self) -> Sequence[Remark]:
        remarks: list[Remark] = []
        for server in await self._client.servers():
            memory, persistence = await info(server, "memory"), await info(server, "persistence")
            remarks += (
                await self._time(server),
                await _kept(server, persistence),
                _eviction(memory),
            )
            if isinstance(server, RedisSentinelClient):
                remarks.append(_isolation(await info(server, "replication")))
        return [*dict.fromkeys(remarks)]

    async def _time(self, server: RedisClient) -> Remark:
        before = self._clock.now()
        seconds, microseconds = await server.time()
        now = before + (self._clock.now() - before) / 2
        there = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
        return clock_remark((there - now).total_seconds(), tolerated=self._leeway.total_seconds())


class JobRedisInspection(Inspection):
    """Looks at the Redis of the broker or of results, where these have an address of their own."""

    def __init__(
        self, name: str, url: str | None, timeout: timedelta, clock: Clock, leeway: timedelta
    ) -> None:
        self.name = name
        self._url = url or ""
        self._timeout = timeout
        self._clock = clock
        self._leeway = leeway

    async def remarks(self) -> Sequence[Remark]:
        if urlsplit(self._url).scheme not in {"redis", "rediss"}:
            return []
        try:
            client = redis_client(RedisSettings(url=self._url, timeout=self._timeout))
            try:
                return await RedisInspection(client, self._clock, self._leeway).remarks()
            finally:
                await client.aclose()
        except (exceptions.RedisError, TypeError, ValueError) as error:
            # An address may have options that Celery knows and the driver does not.
            raise Unavailable(self.name) from error


async def _kept(server: RedisClient, persistence: Mapping[str, object]) -> Remark:
    if persistence.get("aof_enabled"):
        return Remark("data", "is kept over a restart (appendonly)")
    try:
        save = (await server.config_get("save")).get("save")
    except (exceptions.ResponseError, Unavailable):
        return Remark("data", "may be kept over a restart or not: it does not say")
    if save:
        text = "of the last minutes is lost at a restart (save without appendonly): messages of jobs, locks"
    else:
        text = "is lost at a restart: messages of jobs, locks; set appendonly yes"
    return Remark("data", text, Concern.WARNING)


def _eviction(memory: Mapping[str, object]) -> Remark:
    policy, most = memory.get("maxmemory_policy"), memory.get("maxmemory")
    if policy is None:
        return Remark("memory", "may be freed by dropping sessions or not: it does not say")
    if policy == "noeviction":
        return Remark("memory", "is never freed by dropping sessions (noeviction)")
    text = f"is freed by dropping sessions, locks and messages ({policy}); set maxmemory-policy noeviction"
    return Remark("memory", text, Concern.WRONG if most else Concern.WARNING)


def _isolation(replication: Mapping[str, object]) -> Remark:
    if not replication:
        return Remark("replicas", "may be needed to write or not: it does not say")
    if "min_slaves_good_slaves" in replication:  # which is not told of a master that needs none
        return Remark("replicas", "are needed to write (min-replicas-to-write)")
    text = "are not needed to write: a master that is cut off believes ended sessions; set min-replicas-to-write 1"
    return Remark("replicas", text, Concern.WARNING)
