"""The rate limiter in memory."""

from adapters.memory.buckets import Buckets, limits_of
from application.ports.rate_limiter import RateLimiter
from application.ports.system import Clock
from application.settings import Limit
from domain.log_in_throttle import Throttled


class MemoryRateLimiter(RateLimiter):
    """A bucket per network and per site."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets = Buckets()

    async def hit(
        self, bucket: str, address: str, limit: Limit, *, device: str | None = None
    ) -> None:
        now = self._clock.now()
        counted = limits_of(bucket, address, limit)
        if device is not None:
            counted = {(bucket, "device", device): limit}
        if wait := self._buckets.wait(counted, now):
            raise Throttled(wait)
        self._buckets.pay(counted, now)
