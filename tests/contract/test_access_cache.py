"""What `AccessCache` promises, kept by memory and by Redis."""

from datetime import timedelta

import pytest

from adapters.memory.access_cache import MemoryAccessCache
from adapters.redis.access_cache import RedisAccessCache, RedisClusterAccessCache
from adapters.redis.cluster import RedisClusterClient
from application.ports.access_cache import AccessCache
from domain.access import Access
from domain.grants import Grant, Grants
from tests.support.clock import SECOND
from tests.support.redis_clock import Backend
from tests.support.sessions import ADA, GRACE_HOPPER

ON_A_CLUSTER = True

TTL = timedelta(minutes=10)


def access(*grants: str, is_admin: bool = False, is_active: bool = True) -> Access:
    return Access(
        is_active=is_active,
        is_admin=is_admin,
        must_change_password=False,
        grants=Grants.of(map(Grant, grants)),
    )


@pytest.fixture
def cache(backend: Backend) -> AccessCache:
    if isinstance(backend.redis, RedisClusterClient):
        return RedisClusterAccessCache(backend.redis, TTL)
    if backend.redis:
        return RedisAccessCache(backend.redis, TTL)
    return MemoryAccessCache(backend.clock, TTL)


@pytest.mark.parametrize(
    "stored",
    [
        access(),
        access(is_admin=True),
        access(is_active=False),
        Access(is_active=True, is_admin=False, must_change_password=True, grants=Grants()),
        access("GET:/a/{b}", "EVENT:chat.send", "*:/a/**", "GET:**"),
        access(*(f"GET:/api/v1/things-{number}/{{id}}" for number in range(1000))),
    ],
)
async def test_a_value_is_read_as_it_was_written(cache: AccessCache, stored: Access) -> None:
    await cache.put(ADA, "v1", stored)
    assert await cache.get(ADA, "v1") == stored


async def test_it_counts_for_its_user_and_its_version_alone(cache: AccessCache) -> None:
    await cache.put(ADA, "v1", access("GET:/a"))
    assert await cache.get(GRACE_HOPPER, "v1") is None
    for version in ("v2", "v", "", "v11", '"v1"'):
        assert await cache.get(ADA, version) is None


async def test_a_new_value_replaces_the_old_one(cache: AccessCache) -> None:
    await cache.put(ADA, "v1", access("GET:/a"))
    await cache.put(ADA, "v2", access("GET:/b"))
    assert await cache.get(ADA, "v1") is None
    assert await cache.get(ADA, "v2") == access("GET:/b")


async def test_it_is_forgotten_when_an_access_token_would_have_expired(
    cache: AccessCache, backend: Backend
) -> None:
    await cache.put(ADA, "v1", access("GET:/a"))
    await backend.clock.pass_time(TTL - SECOND)
    assert await cache.get(ADA, "v1") == access("GET:/a")
    await backend.clock.pass_time(SECOND)
    assert await cache.get(ADA, "v1") is None
