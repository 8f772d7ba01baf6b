"""Where the state of a contract suite is kept."""

from dataclasses import dataclass

from adapters.redis.client import RedisClient
from tests.fakes.clock import MovableClock


@dataclass(frozen=True, slots=True)
class Backend:
    """A clock that the test moves, and the Redis whose keys age with it; without one, memory."""

    clock: MovableClock
    redis: RedisClient | None = None
