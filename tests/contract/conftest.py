"""Where the state of a contract suite is kept: in this process, or on a real server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from adapters.memory.scheduling.task_runs import MemoryRunLog
from adapters.memory.store import MemoryStore
from adapters.memory.unit_of_work import MemoryUnitOfWork
from adapters.postgres.engine import postgres_engine
from adapters.postgres.scheduling.task_runs import PostgresRunLog
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from adapters.redis.cluster import RedisClusterClient
from adapters.redis.servers import redis_servers
from adapters.system import SystemClock
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import PostgresSettings, RedisSettings
from tests.support.beat_store_harness import BeatStoreHarness
from tests.support.clock import MovableClock
from tests.support.redis_clock import Backend, ClockWithRedis
from tests.support.redis_cluster import ValkeyCluster
from tests.support.scheduling_stores import (
    MemoryBeatStore,
    MemorySchedulingBackend,
    PostgresBeatStore,
    PostgresSchedulingBackend,
    SchedulingBackend,
)


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Redis Cluster of three masters, of this worker's own."""
    cluster = ValkeyCluster(tmp_path_factory.mktemp("cluster"), replicas=0)
    asyncio.run(cluster.start())
    yield cluster.url
    cluster.kill()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the suites that say so (`ON_A_CLUSTER`) on a Redis Cluster too."""
    if "redis_servers_url" in metafunc.fixturenames:
        places = ["memory", pytest.param("redis_url", marks=pytest.mark.server, id="redis")]
        if getattr(metafunc.module, "ON_A_CLUSTER", False):
            places.append(pytest.param("redis_cluster", id="cluster"))
        metafunc.parametrize("redis_servers_url", places, indirect=True)


@pytest.fixture
def redis_servers_url(request: pytest.FixtureRequest) -> str | None:
    """Return the address of Redis, or None for memory."""
    return None if request.param == "memory" else request.getfixturevalue(request.param)


@pytest.fixture
async def backend(redis_servers_url: str | None) -> AsyncIterator[Backend]:
    if redis_servers_url is None:
        yield Backend(MovableClock())
        return
    client = redis_servers(RedisSettings(url=redis_servers_url, timeout=timedelta(seconds=10)))
    if isinstance(client, RedisClusterClient):
        for server in await client.servers():
            await server.flushdb()
    yield Backend(ClockWithRedis(client), client)
    await client.aclose()


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.server)])
def database(request: pytest.FixtureRequest) -> str | None:
    """Return the address of PostgreSQL, or None for memory."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


@pytest.fixture
async def uow(database: str | None) -> AsyncIterator[UnitOfWorkFactory]:
    if database is None:
        store = MemoryStore()
        yield lambda: MemoryUnitOfWork(store)
        return
    engine = postgres_engine(PostgresSettings(url=database, timeout=timedelta(seconds=10)))
    yield lambda: PostgresUnitOfWork(engine)
    await engine.dispose()


@pytest.fixture
async def scheduling(database: str | None) -> AsyncIterator[SchedulingBackend]:
    if database is None:
        yield MemorySchedulingBackend()
        return
    settings = PostgresSettings(url=database, timeout=timedelta(seconds=10))
    engine = postgres_engine(settings)
    backend = PostgresSchedulingBackend(engine, settings)
    yield backend
    await backend.close()
    await engine.dispose()


@pytest.fixture
async def harness(database: str | None) -> AsyncIterator[BeatStoreHarness]:
    if database is None:
        store, clock = MemoryStore(), SystemClock()
        one, two = MemoryBeatStore(store, clock), MemoryBeatStore(store, clock)
        yield BeatStoreHarness(lambda: MemoryUnitOfWork(store), one, two, MemoryRunLog(store))
        return
    settings = PostgresSettings(url=database, timeout=timedelta(seconds=10))
    engine = postgres_engine(settings)
    first, second = (PostgresBeatStore(engine, settings) for _ in range(2))
    yield BeatStoreHarness(
        lambda: PostgresUnitOfWork(engine), first, second, PostgresRunLog(engine)
    )
    await first.aclose()
    await second.aclose()
    await engine.dispose()
