"""Limits as the scripts of the log-in throttle and of the rate limiter take them."""

from collections.abc import Iterable

from adapters.redis.scripts import microseconds
from application.settings import Limit
from domain.log_in_throttle import SITE_FACTOR


def limits_of(networks: tuple[str, ...], limit: Limit) -> tuple[Limit, ...]:
    """Return the limit of the network and, if there is one, of its site."""
    return (limit, limit.times(SITE_FACTOR))[: len(networks)]


def operands(limits: Iterable[Limit]) -> list[int]:
    """Return the interval (microseconds) and the attempts of each limit, as `gcra.lua` takes them."""
    return [number for limit in limits for number in (microseconds(limit.interval), limit.attempts)]
