"""Time that passes in Redis when a test says so."""

import re
from dataclasses import dataclass
from datetime import timedelta

from redis.exceptions import NoScriptError

from adapters.redis.client import RedisClient
from adapters.redis.scripts import microseconds
from application.ports.system import Clock
from tests.support.clock import MovableClock


@dataclass(frozen=True, slots=True)
class Backend:
    """A clock that the test moves, and the Redis whose keys age with it; without one, memory."""

    clock: MovableClock
    redis: RedisClient | None = None

    @property
    def timed_redis(self) -> RedisClient | None:
        """The same Redis, whose scripts take the time from the clock."""
        return TimedRedis(self.redis, self.clock) if self.redis else None


class TimedRedis(RedisClient):
    """Runs scripts at the time of a clock; everything else is left as it is."""

    def __init__(self, client: RedisClient, clock: Clock) -> None:
        self.__dict__.update(vars(client))
        self._clock = clock

    async def execute(self, *args: str | int) -> object:
        if args[0] == "EVALSHA":
            raise NoScriptError  # the text is asked for
        if args[0] == "EVAL":
            now = microseconds(self._clock.now())
            time = f"{{'{now // 1_000_000}', '{now % 1_000_000}'}}"
            text = str(args[1]).replace("redis.call('TIME')", time)
            args = (args[0], text, *args[2:])
        return await super().execute(*args)


class ClockWithRedis(MovableClock):
    """Takes a Redis database along: what a key, or a change of access, has left shrinks by the time that passes."""

    def __init__(self, client: RedisClient) -> None:
        super().__init__()
        self._client = client

    async def pass_time(self, elapsed: timedelta) -> None:
        await super().pass_time(elapsed)
        milliseconds = elapsed // timedelta(milliseconds=1)
        async for key in self._client.scan_iter():
            left = await self._client.pttl(key)
            if left >= 0:
                await self._client.pexpire(key, left - milliseconds)
        changes = await self._client.hget("auth:version", "changes")
        if changes:
            aged = re.sub(
                r"(?m)^\d+", lambda ends_at: str(int(ends_at[0]) - milliseconds), str(changes)
            )
            await self._client.hset("auth:version", "changes", aged)
