"""What operators learn about servers that answer: clocks, what a restart loses, what is dropped when memory is full."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.postgres.engine import postgres_engine
from adapters.postgres.inspection import PostgresInspection
from adapters.redis.client import redis_client
from adapters.redis.inspection import JobRedisInspection, RedisInspection
from adapters.s3.bucket_inspection import BucketInspection
from adapters.s3.client import S3Client
from adapters.s3.inspection import S3Inspection
from adapters.system import SystemClock
from application.ports.health import Concern, Inspection, Remark
from application.ports.system import Clock
from application.settings import PostgresSettings, RedisSettings, S3Settings
from domain.errors import Unavailable
from tests.support.builders import a_uuid
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
    assert "replicas" not in found  # of a server that is alone


async def test_a_redis_of_the_broker_alone_is_looked_at_too(tmp_path: Path) -> None:
    """One that drops keys when it is full loses messages, without a word."""
    with Valkey(tmp_path, "--maxmemory-policy", "allkeys-lru", "--maxmemory", "64mb") as valkey:
        broker = JobRedisInspection(
            "broker", valkey.url, timedelta(seconds=5), SystemClock(), LEEWAY
        )
        found = await remarks(broker)

    assert found["memory"].concern is Concern.WRONG
    assert found["data"].concern is Concern.NONE
    with pytest.raises(Unavailable):
        await broker.remarks()


@pytest.mark.parametrize("url", [None, "amqp://user:password@127.0.0.1:9//"])
async def test_a_broker_without_a_redis_of_its_own_is_not_asked(url: str | None) -> None:
    second = timedelta(seconds=1)
    assert await JobRedisInspection("broker", url, second, SystemClock(), LEEWAY).remarks() == []


async def test_an_address_that_only_celery_understands_is_no_fault() -> None:
    url = "rediss://127.0.0.1:9/0?ssl_cert_reqs=CERT_NONE&virtual_host=x"
    second = timedelta(seconds=1)
    with pytest.raises(Unavailable):
        await JobRedisInspection("result", url, second, SystemClock(), LEEWAY).remarks()


async def test_the_set_up_of_a_bucket_is_reported(
    opened: AsyncExitStack, s3_settings: S3Settings
) -> None:
    settings = replace(s3_settings, bucket=f"inspected-{a_uuid()}")
    client = S3Client(settings)
    opened.push_async_callback(client.aclose)
    s3: Any = await client.get()
    bucket = settings.bucket
    pages = {"AllowedMethods": ["PUT"], "AllowedOrigins": ["https://a.example"]}
    sweep = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}, "Status": "Enabled"}
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
    resource = f"arn:aws:s3:::{bucket}/*"
    policy = {"Version": "2012-10-17", "Statement": [everybody | {"Resource": resource}]}
    await s3.create_bucket(Bucket=bucket)
    here = BucketInspection(client, settings, ["https://a.example"])
    elsewhere = BucketInspection(client, settings, ["https://b.example"])

    new = await remarks(here)
    await s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [pages]})
    rules = {"Rules": [sweep | {"ID": "x", "Filter": {"Prefix": ""}}]}
    await s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    await s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    set_up, other = await remarks(here), await remarks(elsewhere)

    assert [each.concern for each in new.values()] == [Concern.WARNING, Concern.NONE, Concern.NONE]
    assert set_up["CORS"] == Remark("CORS", "pages of https://a.example may upload")
    assert set_up["lifecycle"].concern is Concern.WARNING
    assert set_up["policy"].concern is Concern.WRONG
    assert "https://b.example" in other["CORS"].text
    assert other["CORS"].concern is Concern.WARNING
