"""The clients of MongoDB and S3, and what the probes of all dependencies say about them."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from adapters.mongo.client import mongo_client
from adapters.mongo.health import MongoProbe
from adapters.postgres.engine import postgres_engine
from adapters.postgres.health import PostgresProbe
from adapters.redis.client import redis_client
from adapters.redis.health import JobRedisProbe, RedisProbe
from adapters.redis.servers import job_redis_client
from adapters.s3.client import S3Client
from adapters.s3.health import S3Probe
from adapters.system import SystemClock
from application.ports.health import Probe
from application.settings import MongoSettings, PostgresSettings, RedisSettings, S3Settings
from application.use_cases.health import CheckReadiness
from tests.support.link import Link, link_to

PATIENT = timedelta(seconds=10)
IMPATIENT = timedelta(seconds=1.5)
KINDS = ["postgres", "redis", "broker", "mongo", "s3"]


class Probes:
    """Makes probes, and closes their clients."""

    def __init__(self, s3: S3Settings, urls: dict[str, str]) -> None:
        self.urls = urls
        self._s3 = s3
        self.opened = AsyncExitStack()

    def probe(self, kind: str, url: str, timeout: timedelta = PATIENT) -> Probe:
        """Return the probe of the dependency at `url`."""
        match kind:
            case "postgres":
                of_postgres = PostgresSettings(url=url, timeout=timeout)
                engine = postgres_engine(of_postgres)
                self.opened.push_async_callback(engine.dispose)
                return PostgresProbe(engine, of_postgres)
            case "redis":
                redis = redis_client(RedisSettings(url=url, timeout=timeout))
                self.opened.push_async_callback(redis.aclose)
                return RedisProbe(redis)
            case "broker":
                broker = job_redis_client(f"{url}?heartbeat=10", timeout)  # an option of Celery's
                self.opened.push_async_callback(broker.aclose)
                return JobRedisProbe(broker)
            case "mongo":
                settings = MongoSettings(url=url, timeout=timeout)
                mongo = mongo_client(settings)
                self.opened.push_async_callback(asyncio.to_thread, mongo.close)
                return MongoProbe(mongo, settings)
            case _:
                return S3Probe(replace(self._s3, url=url, timeout=timeout), SystemClock())

    def s3(self, settings: S3Settings) -> S3Client:
        client = S3Client(settings)
        self.opened.push_async_callback(client.aclose)
        return client


@pytest.fixture
async def probes(
    postgres_url: str, redis_url: str, mongo_url: str, s3_settings: S3Settings
) -> AsyncIterator[Probes]:
    urls = {
        "postgres": postgres_url,
        "redis": redis_url,
        "broker": redis_url,
        "mongo": mongo_url,
        "s3": s3_settings.url or "",
    }
    probes = Probes(s3_settings, urls)
    async with probes.opened:
        yield probes


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def link(probes: Probes, kind: str) -> AsyncIterator[Link]:
    async with link_to(probes.urls[kind]) as link:
        yield link


# --- every probe ---


async def test_a_dependency_that_answers_is_up(probes: Probes, kind: str) -> None:
    probe = probes.probe(kind, probes.urls[kind])

    await probe.check()
    await probe.check()

    assert probe.name == kind


async def test_a_dependency_that_is_not_there_is_down(
    probes: Probes, kind: str, unused_tcp_port: int
) -> None:
    parts = urlsplit(probes.urls[kind])
    credentials, at, _ = parts.netloc.rpartition("@")
    url = parts._replace(netloc=f"{credentials}{at}127.0.0.1:{unused_tcp_port}").geturl()
    probe = probes.probe(kind, url, IMPATIENT)
    started = time.monotonic()

    with pytest.raises(Exception):  # noqa: B017, PT011 - any error is the promise
        await probe.check()

    assert time.monotonic() - started < 10


async def test_a_dependency_that_freezes_is_down_until_it_thaws(
    probes: Probes, kind: str, link: Link
) -> None:
    """And readiness says so in time, without having to ask the others again."""
    probe = probes.probe(kind, link.url(probes.urls[kind]), IMPATIENT)
    ready = CheckReadiness(
        [probe], SystemClock(), cached_for=timedelta(0), timeout=timedelta(seconds=1)
    )
    patient = CheckReadiness([probe], SystemClock(), cached_for=timedelta(0), timeout=PATIENT)
    assert (await patient()).up == (kind,)

    link.freeze()
    started = time.monotonic()
    answer = await ready()
    assert (*answer.down, *answer.degraded) == (kind,)
    assert answer.is_ready == (kind in {"broker", "mongo", "s3"})
    assert time.monotonic() - started < 3

    link.thaw()
    assert (await patient()).up == (kind,)


async def test_closing_a_client_ends_its_connections(probes: Probes, kind: str, link: Link) -> None:
    await probes.probe(kind, link.url(probes.urls[kind])).check()
    assert link.questions

    await probes.opened.aclose()

    async with asyncio.timeout(5):
        await link.until_unused()


# --- S3 ---


async def test_an_object_in_the_bucket_can_be_read(probes: Probes, s3_settings: S3Settings) -> None:
    s3 = probes.s3(s3_settings)
    client = await s3.get()

    await client.put_object(Bucket=s3.bucket, Key="a/ü b+c", Body=b"content")
    answer = await client.get_object(Bucket=s3.bucket, Key="a/ü b+c")

    assert await answer["Body"].read() == b"content"


async def test_nothing_on_this_machine_is_asked_through_a_proxy(
    probes: Probes, s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which could not reach it; most machines behind one have no NO_PROXY."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    for kind in KINDS:
        await probes.probe(kind, probes.urls[kind]).check()


async def test_all_use_one_s3_client(probes: Probes, s3_settings: S3Settings) -> None:
    """Also if the first caller did not want to wait."""
    s3 = probes.s3(s3_settings)
    impatient = asyncio.create_task(s3.get())
    await asyncio.sleep(0)
    impatient.cancel()

    clients = await asyncio.gather(*(s3.get() for _ in range(10)))

    assert len({id(client) for client in clients}) == 1
    assert impatient.cancelled()


async def test_an_unused_s3_client_can_be_closed(s3_settings: S3Settings) -> None:
    await S3Client(s3_settings).aclose()


# --- MongoDB ---


def test_making_a_mongo_client_neither_connects_nor_starts_a_thread() -> None:
    """So that it can be made before a fork, and without an event loop."""
    before = threading.enumerate()

    client = mongo_client(MongoSettings(url="mongodb://host.invalid"))

    assert threading.enumerate() == before
    client.close()


async def test_mongo_gives_back_aware_instants_and_uuids(
    mongo_url: str, mongo_database: str
) -> None:
    client = mongo_client(MongoSettings(url=mongo_url, timeout=PATIENT))
    collection = client[mongo_database]["things"]
    thing = {"_id": UUID(int=7), "at": datetime(2026, 3, 1, 12, tzinfo=UTC)}

    await collection.insert_one(thing)

    assert await collection.find_one() == thing
    client.close()
