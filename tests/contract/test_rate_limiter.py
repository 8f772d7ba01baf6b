"""What `RateLimiter` promises, kept by memory and by Redis."""

import asyncio

import pytest

from adapters.memory.rate_limiter import MemoryRateLimiter
from adapters.redis.rate_limiter import RedisRateLimiter
from application.ports.rate_limiter import RateLimiter
from application.settings import Limit
from domain.log_in_throttle import Throttled
from tests.support.clock import SECOND
from tests.support.redis_clock import Backend


@pytest.fixture
def limiter(backend: Backend) -> RateLimiter:
    redis = backend.timed_redis
    return RedisRateLimiter(redis) if redis else MemoryRateLimiter(backend.clock)


async def uses(
    limiter: RateLimiter, backend: Backend, limit: Limit, *, address: str = "192.0.2.1"
) -> int:
    """Return how often something may be used at once before it is refused."""
    for used in range(1000):
        try:
            await limiter.hit("public", address, limit)
        except Throttled:
            return used
    pytest.fail("nothing is ever refused")


@pytest.mark.parametrize(
    "limit", [Limit(1, 60), Limit(7, 300), Limit(120, 60), Limit(3, 1)], ids=str
)
async def test_exactly_as_many_uses_as_the_limit_says_are_allowed_at_once(
    limiter: RateLimiter, backend: Backend, limit: Limit
) -> None:
    assert await uses(limiter, backend, limit) == limit.attempts


async def test_a_refusal_says_when_the_next_use_is_allowed(
    limiter: RateLimiter, backend: Backend
) -> None:
    limit = Limit(6, 60)
    await uses(limiter, backend, limit)
    await backend.clock.pass_time(3 * SECOND)

    with pytest.raises(Throttled) as refusal:
        await limiter.hit("public", "192.0.2.1", limit)

    assert refusal.value.retry_after == 7 * SECOND
    await backend.clock.pass_time(refusal.value.retry_after)
    assert await uses(limiter, backend, limit) == 1


async def test_uses_come_back_evenly_and_all_of_them_after_the_whole_period(
    limiter: RateLimiter, backend: Backend
) -> None:
    limit = Limit(6, 60)
    await uses(limiter, backend, limit)
    await backend.clock.pass_time(20 * SECOND)
    assert await uses(limiter, backend, limit) == 2
    await backend.clock.pass_time(3600 * SECOND)
    assert await uses(limiter, backend, limit) == 6


async def test_a_refused_use_costs_nothing(limiter: RateLimiter, backend: Backend) -> None:
    limit = Limit(1, 60)
    await uses(limiter, backend, limit)
    for _ in range(10):
        assert await uses(limiter, backend, limit) == 0
    await backend.clock.pass_time(60 * SECOND)
    assert await uses(limiter, backend, limit) == 1


async def test_addresses_and_buckets_are_limited_each_for_itself(
    limiter: RateLimiter, backend: Backend
) -> None:
    limit = Limit(2, 60)
    assert await uses(limiter, backend, limit, address="192.0.2.1") == 2
    assert await uses(limiter, backend, limit, address="192.0.2.2") == 2
    await limiter.hit("register", "192.0.2.1", limit)


async def test_the_networks_of_one_site_have_ten_times_as_much_together(
    limiter: RateLimiter, backend: Backend
) -> None:
    limit = Limit(2, 60)
    used = [await uses(limiter, backend, limit, address=f"2001:db8:0:{n:x}::1") for n in range(12)]
    assert used == [2] * 10 + [0, 0]
    assert await uses(limiter, backend, limit, address="2001:db8:1::1") == 2


async def test_a_device_pays_for_itself_alone_wherever_it_is(
    limiter: RateLimiter, backend: Backend
) -> None:
    limit = Limit(2, 60)
    await uses(limiter, backend, limit, address="192.0.2.1")
    for address in ("192.0.2.1", "2001:db8::1"):
        await limiter.hit("public", address, limit, device="phone")
    with pytest.raises(Throttled):
        await limiter.hit("public", "192.0.2.2", limit, device="phone")
    await limiter.hit("public", "192.0.2.1", limit, device="laptop")
    assert await uses(limiter, backend, limit, address="192.0.2.2") == 2


async def test_of_many_uses_at_the_same_time_only_the_allowed_ones_pass(
    limiter: RateLimiter, backend: Backend
) -> None:
    answers = await asyncio.gather(
        *(limiter.hit("public", "2001:db8::1", Limit(10, 60)) for _ in range(50)),
        return_exceptions=True,
    )
    assert answers.count(None) == 10
    assert sum(isinstance(answer, Throttled) for answer in answers) == 40
