"""What operators learn about servers that answer: clocks, what a restart loses, what is dropped when memory is full."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from adapters.postgres.engine import postgres_engine
from adapters.postgres.inspection import PostgresInspection
from adapters.redis.client import redis_client
from adapters.redis.inspection import RedisInspection
from adapters.s3.inspection import S3Inspection
from adapters.system import SystemClock
from application.ports.health import Concern, Inspection, Remark
from application.ports.system import Clock
from application.settings import PostgresSettings, RedisSettings
from tests.support.servers import Servers, s3_of
from tests.support.valkey import Valkey

LEEWAY = timedelta(seconds=30)


class WrongClock(Clock):
    """The clock of a host that is ahead."""

    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return SystemClock().now() + self._ahead


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def of_postgres(opened: AsyncExitStack, url: str, clock: Clock) -> PostgresInspection:
    engine = postgres_engine(PostgresSettings(url=url))
    opened.push_async_callback(engine.dispose)
    return PostgresInspection(engine, clock, LEEWAY)


def of_redis(opened: AsyncExitStack, url: str, clock: Clock) -> RedisInspection:
    client = redis_client(RedisSettings(url=url))
    opened.push_async_callback(client.aclose)
    return RedisInspection(client, clock, LEEWAY)


async def remarks(inspection: Inspection) -> dict[str, Remark]:
    return {remark.about: remark for remark in await inspection.remarks()}


@pytest.mark.parametrize("kind", ["postgres", "redis", "s3"])
async def test_a_clock_that_differs_is_reported_with_the_difference(
    kind: str, opened: AsyncExitStack, postgres_url: str, redis_url: str, servers: Servers
) -> None:
    """What is more than tokens tolerate is wrong."""

    async def clock_of_a_host(ahead: float) -> Remark:
        clock = WrongClock(timedelta(seconds=ahead))
        if kind == "s3":
            return (await remarks(S3Inspection(s3_of(servers), clock, LEEWAY)))["clock"]
        make = {"postgres": of_postgres, "redis": of_redis}[kind]
        url = {"postgres": postgres_url, "redis": redis_url}[kind]
        return (await remarks(make(opened, url, clock)))["clock"]

    assert (await clock_of_a_host(0)).concern is Concern.NONE
    slow, fast = await clock_of_a_host(10), await clock_of_a_host(-60)
    assert (slow.concern, fast.concern) == (Concern.WARNING, Concern.WRONG)
    assert "s behind that of this host" in slow.text
    assert "s ahead of that of this host" in fast.text


@pytest.mark.parametrize(
    ("options", "about", "concern", "said"),
    [
        ((), "data", Concern.NONE, "is kept"),
        (("--appendonly", "no"), "data", Concern.WARNING, "set appendonly yes"),
        (("--appendonly", "no", "--save", "60 1"), "data", Concern.WARNING, "last minutes"),
        ((), "memory", Concern.NONE, "noeviction"),
        (("--maxmemory-policy", "volatile-ttl"), "memory", Concern.WARNING, "volatile-ttl"),
        (
            ("--maxmemory-policy", "allkeys-lfu", "--maxmemory", "64mb"),
            "memory",
            Concern.WRONG,
            "set maxmemory-policy noeviction",
        ),
    ],
)
async def test_settings_by_which_redis_may_lose_keys_are_reported(
    *,
    options: tuple[str, ...],
    about: str,
    concern: Concern,
    said: str,
    opened: AsyncExitStack,
    tmp_path: Path,
) -> None:
    with Valkey(tmp_path, *options) as valkey:
        remark = (await remarks(of_redis(opened, valkey.url, SystemClock())))[about]

    assert remark.concern is concern
    assert said in remark.text


async def test_a_redis_that_does_not_tell_is_not_said_to_be_right(
    opened: AsyncExitStack, tmp_path: Path
) -> None:
    """As with a provider that renames CONFIG and INFO."""
    hidden = ("--rename-command", "CONFIG", "", "--rename-command", "INFO", "")
    with Valkey(tmp_path, *hidden) as valkey:
        found = await remarks(of_redis(opened, valkey.url, SystemClock()))

    assert "does not say" in found["data"].text
    assert "does not say" in found["memory"].text
    assert found["clock"].concern is Concern.NONE
