"""What a process keeps of the cache of access that all processes share."""

import pytest

from adapters.memory.access_cache import LocalAccessCache
from application.ports.access_cache import AccessCache
from domain.access import Access
from domain.errors import Unavailable
from domain.grants import Grants
from domain.identity import UserId
from tests.support.sessions import ADA, GRACE_HOPPER

ACCESS = Access(is_active=True, is_admin=False, must_change_password=False, grants=Grants())


class Shared(AccessCache):
    """Can be away, and says what it was asked for."""

    def __init__(self) -> None:
        self.stored: dict[tuple[UserId, str], Access] = {}
        self.asked: list[tuple[UserId, str]] = []
        self.is_up = True

    async def get(self, user_id: UserId, version: str) -> Access | None:
        self.asked.append((user_id, version))
        return self.stored.get((user_id, version))

    async def put(self, user_id: UserId, version: str, access: Access) -> None:
        if not self.is_up:
            raise Unavailable("Redis")
        self.stored[user_id, version] = access


async def test_the_shared_cache_is_asked_once_for_each_version() -> None:
    shared = Shared()
    shared.stored = {(ADA, "v1"): ACCESS, (ADA, "v2"): ACCESS}
    cache = LocalAccessCache(shared, 9)
    for version in ("v1", "v1", "v2", "v2", "v1"):
        assert await cache.get(ADA, version) is ACCESS
    assert shared.asked == [(ADA, "v1"), (ADA, "v2"), (ADA, "v1")]


async def test_an_unknown_access_is_requested_again() -> None:
    shared = Shared()
    cache = LocalAccessCache(shared, 9)
    for _ in range(2):
        assert await cache.get(ADA, "v1") is None
    assert len(shared.asked) == 2


async def test_an_access_that_the_shared_cache_refuses_is_kept_in_memory() -> None:
    shared = Shared()
    shared.is_up = False
    cache = LocalAccessCache(shared, 9)
    with pytest.raises(Unavailable):
        await cache.put(ADA, "v1", ACCESS)
    assert await cache.get(ADA, "v1") is ACCESS
    assert await cache.get(ADA, "v2") is None


async def test_no_more_users_are_kept_than_the_limit() -> None:
    shared = Shared()
    cache = LocalAccessCache(shared, 1)
    await cache.put(ADA, "v1", ACCESS)
    await cache.put(GRACE_HOPPER, "v1", ACCESS)
    assert await cache.get(GRACE_HOPPER, "v1") is ACCESS
    assert not shared.asked
    assert await cache.get(ADA, "v1") is ACCESS
    assert shared.asked == [(ADA, "v1")]
