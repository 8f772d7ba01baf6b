"""Limits by address of other requests."""

from typing import Protocol

from application.settings import Limit


class RateLimiter(Protocol):
    """Limits other public requests by address. Time is that of the store of the counts."""

    async def hit(
        self, bucket: str, address: str, limit: Limit, *, device: str | None = None
    ) -> None:
        """Count one request in all buckets of `networks_of` the address, or in none and raise `Throttled`.

        `limit` is for the network; the limit of the site is `SITE_FACTOR` times as high. A request with a valid
        `device` token counts in the bucket of that device instead.
        """
        ...
