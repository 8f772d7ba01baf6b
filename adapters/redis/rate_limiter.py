"""The rate limiter in Redis.

- `throttle:{<bucket>}:<address, /64 or /48>`, `throttle:{<bucket>}:device:<sha256>`: buckets
"""

import hashlib

from adapters.redis.buckets import limits_of, operands
from adapters.redis.client import RedisServers
from adapters.redis.scripts import Script, duration
from application.ports.rate_limiter import RateLimiter
from application.settings import Limit
from domain.log_in_throttle import Throttled, networks_of


class RedisRateLimiter(RateLimiter):
    """One script, one round trip."""

    def __init__(self, client: RedisServers) -> None:
        self._hit = Script(client, "time", "gcra", "rate_limiter_hit")

    async def hit(
        self, bucket: str, address: str, limit: Limit, *, device: str | None = None
    ) -> None:
        payers = networks_of(address)
        if device is not None:
            payers = (f"device:{hashlib.sha256(device.encode()).hexdigest()[:32]}",)
        (wait,) = await self._hit(
            [f"throttle:{{{bucket}}}:{payer}" for payer in payers],
            *operands(limits_of(payers, limit)),
        )
        if wait:
            raise Throttled(duration(wait))
