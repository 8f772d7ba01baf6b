"""Time that passes in Redis when a test says so."""

import re
from dataclasses import dataclass
from datetime import timedelta

from redis.exceptions import NoScriptError

from adapters.redis.client import RedisClient
from adapters.redis.cluster import RedisClusterClient
from adapters.redis.scripts import microseconds
from application.ports.system import Clock
from tests.support.clock import MovableClock


@dataclass(frozen=True, slots=True)
class Backend:
    """A clock that the test moves, and the Redis whose keys age with it; without one, memory."""

    clock: MovableClock
    redis: RedisClient | RedisClusterClient | None = None

    @property
    def timed_redis(self) -> RedisClient | RedisClusterClient | None:
        """The same Redis, whose scripts take the time from the clock."""
        if isinstance(self.redis, RedisClusterClient):
            return TimedCluster(self.redis, self.clock)
        return TimedRedis(self.redis, self.clock) if self.redis else None


class TimedRedis(RedisClient):
    """Runs scripts at the time of a clock; everything else is left as it is."""

    def __init__(self, client: RedisClient, clock: Clock) -> None:
        self.__dict__.update(vars(client))
        self._clock = clock

    async def execute(self, *args: str | int) -> object:
        return await super().execute(*_at_time_of(self._clock, args))


class TimedCluster(RedisClusterClient):
    """The same for a Redis Cluster."""

    def __init__(self, client: RedisClusterClient, clock: Clock) -> None:
        self.__dict__.update(vars(client))
        self._clock = clock

    async def execute(self, *args: str | int) -> object:
        return await super().execute(*_at_time_of(self._clock, args))


def _at_time_of(clock: Clock, args: tuple[str | int, ...]) -> tuple[str | int, ...]:
    if args[0] == "EVALSHA":
        raise NoScriptError  # the text is asked for
    if args[0] != "EVAL":
        return args
    now = microseconds(clock.now())
    time = f"{{'{now // 1_000_000}', '{now % 1_000_000}'}}"
    return (args[0], str(args[1]).replace("redis.call('TIME')", time), *args[2:])


class ClockWithRedis(MovableClock):
    """Takes a Redis database along: what a key, or a change of access, has left shrinks by the time that passes."""

    def __init__(self, client: RedisClient | RedisClusterClient) -> None:
        super().__init__()
        self._client = client

    async def pass_time(self, elapsed: timedelta) -> None:
        await super().pass_time(elapsed)
        milliseconds = elapsed // timedelta(milliseconds=1)
        for server in await self._client.servers():
            async for key in server.scan_iter():
                left = await server.pttl(key)
                if left >= 0:
                    await server.pexpire(key, left - milliseconds)
        changes = await self._client.execute("HGET", "auth:version", "changes")
        if changes:
            aged = re.sub(
                r"(?m)^\d+", lambda ends_at: str(int(ends_at[0]) - milliseconds), str(changes)
            )
            await self._client.execute("HSET", "auth:version", "changes", aged)
