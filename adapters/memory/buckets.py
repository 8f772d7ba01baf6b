"""Buckets of attempts that refill with time, for the throttle, the rate limiter and refreshing."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from application.settings import Limit
from domain.log_in_throttle import SITE_FACTOR, networks_of


def pay(full_at: datetime, limit: Limit, now: datetime) -> tuple[datetime, timedelta]:
    """Return when a bucket will be full again after one more attempt, and how long to wait before paying for it.

    The generic cell rate algorithm (ITU-T I.371), as in `adapters/redis/gcra.lua`.
    """
    after = max(full_at, now) + limit.interval
    return after, max(timedelta(0), after - now - limit.interval * limit.attempts)


def limits_of(bucket: str, address: str, limit: Limit) -> dict[tuple[str, ...], Limit]:
    """Return the limit of each bucket that an address pays in."""
    limits = (limit, limit.times(SITE_FACTOR))
    return {
        (bucket, network): each for network, each in zip(networks_of(address), limits, strict=False)
    }


class Buckets:
    """The time at which each bucket will be full again; full buckets are dropped."""

    def __init__(self) -> None:
        self._full_at: dict[tuple[str, ...], datetime] = {}

    def wait(self, limits: Mapping[tuple[str, ...], Limit], now: datetime) -> timedelta:
        """Return how long to wait until each of them has an attempt left."""
        self._full_at = {k: full_at for k, full_at in self._full_at.items() if full_at > now}
        return max(self._after(key, limit, now)[1] for key, limit in limits.items())

    def pay(self, limits: Mapping[tuple[str, ...], Limit], now: datetime) -> None:
        """Take an attempt from each of them."""
        for key, limit in limits.items():
            self._full_at[key], _ = self._after(key, limit, now)

    def _after(
        self, key: tuple[str, ...], limit: Limit, now: datetime
    ) -> tuple[datetime, timedelta]:
        return pay(self._full_at.get(key, now), limit, now)
