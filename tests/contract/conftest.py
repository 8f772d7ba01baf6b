"""Where the state of a contract suite is kept: in this process, or on a real Redis."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from adapters.redis.client import redis_client
from application.settings import RedisSettings
from tests.fakes.backend import Backend
from tests.fakes.clock import ClockWithRedis, MovableClock


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.server)])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    if request.param == "memory":
        yield Backend(MovableClock())
        return
    url = request.getfixturevalue("redis_url")
    client = redis_client(RedisSettings(url=url, timeout=timedelta(seconds=10)))
    yield Backend(ClockWithRedis(client), client)
    await client.aclose()
