"""Where the state of a contract suite is kept."""

from dataclasses import dataclass

from adapters.redis.client import RedisClient
from tests.fakes.clock import MovableClock, TimedRedis


@dataclass(frozen=True, slots=True)
class Backend:
    """A clock that the test moves, and the Redis whose keys age with it; without one, memory."""

    clock: MovableClock
    redis: RedisClient | None = None

    @property
    def timed_redis(self) -> RedisClient | None:
        """The same Redis, whose scripts take the time from the clock."""
        return TimedRedis(self.redis, self.clock) if self.redis else None
