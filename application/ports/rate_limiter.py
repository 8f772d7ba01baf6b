"""Limits by address of other requests."""

from typing import Protocol

from application.settings import Limit


class RateLimiter(Protocol):
    """Limits by address what else everybody may do. The time is that of whoever keeps the counts."""

    async def hit(
        self, bucket: str, address: str, limit: Limit, *, device: str | None = None
    ) -> None:
        """Pay for one use in all buckets of `networks_of` the address, or in none and raise `Throttled`.

        `limit` is for the network; the site has `SITE_FACTOR` times as much. A `device` that has shown a token of ours
        pays in a bucket of its own instead.
        """
        ...
