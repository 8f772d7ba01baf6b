"""The servers of the test run, and a clean database on each of them for every test that asks for one."""

import asyncio
import gc
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import settings
from pymongo import MongoClient
from redis import Redis

from application.settings import PostgresSettings, S3Settings
from tests.support.servers import Servers, ServersOfTheRun, ask, redis_urls, s3_of

_RUN = pytest.StashKey[ServersOfTheRun]()

# Hypothesis tries 100 examples of each property. `make test-unit`, which is for every save, takes `fast`; what
# runs everything does not. How long an example takes depends on who else uses the machine.
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.register_profile("fast", settings.get_profile("thorough"), max_examples=10)
settings.load_profile("thorough")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[_RUN] = ServersOfTheRun()
        config.add_cleanup(config.stash[_RUN].close)
        if config.getoption("numprocesses", default=None):
            config.stash[_RUN].listen()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each worker of xdist where to ask."""
    node.workerinput["servers"] = node.config.stash[_RUN].address


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return half as many workers again as there are cores: a third of the time a test waits for other processes."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker("server")
        if _is_slow_to_trace(item):
            item.add_marker("no_cover")
    # Workers get one file after another.
    places = _places_of(dict.fromkeys(item.path for item in items))
    items.sort(key=lambda item: places[item.path])


def _is_slow_to_trace(item: pytest.Function) -> bool:
    """Whether the test says little about coverage and is two to three times as slow under Python's tracer.

    Hypothesis tries what examples have covered; e2e tests run the code in other processes, all but those of the
    command line.
    """
    if item.path.stem in _SLOW_TO_TRACE or getattr(item.obj, "is_hypothesis_test", False):
        return True
    return _suite_of(item.path) == "e2e" and item.path.stem != "test_cli"


# All orders of steps, all callers of all routes, all changes of all clocks: the code that they run is that of other
# tests.
_SLOW_TO_TRACE = ("test_guard_orders", "test_http_every_route", "test_scheduling_zones")


def _places_of(files: Iterable[Path]) -> dict[Path, float]:
    """Return the order of the files.

    e2e tests often wait for other processes, so they are spread among files that compute. The many quick files of
    unit tests are left to fill the cores at the end.
    """
    e2e, unit, others = list[Path](), list[Path](), list[Path]()
    for file in files:
        {"e2e": e2e, "unit": unit}.get(_suite_of(file), others).append(file)
    return (
        dict.fromkeys(unit, 1.0)
        | {file: number / len(others) for number, file in enumerate(others)}
        | {file: 0.7 * number / len(e2e) for number, file in enumerate(e2e)}
    )


def _suite_of(file: Path) -> str:
    return file.relative_to(Path(__file__).parent).parts[0]


def pytest_collection_finish() -> None:
    # All that was imported stays to the end. Looking through it again and again took a fifth of the time.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    """Return where PostgreSQL, Redis, MongoDB and S3 are; started when the first test asks, one of each per run."""
    if hasattr(pytestconfig, "workerinput"):
        return ask(pytestconfig.workerinput["servers"])
    return pytestconfig.stash[_RUN].get()


@pytest.fixture(scope="session")
def worker(pytestconfig: pytest.Config) -> int:
    """Return the number of this worker of xdist, from 1; 0 without xdist."""
    workerinput = getattr(pytestconfig, "workerinput", None)
    return int(workerinput["workerid"].removeprefix("gw")) + 1 if workerinput else 0


@pytest.fixture(scope="session")
def migrated_url(servers: Servers, worker: int) -> str:
    """Return a database of this worker's own with the newest schema."""
    # Slow to import, and most unit tests do not need it.
    from adapters.postgres.schema import PostgresSchema  # noqa: PLC0415

    name = f"portico_test_{worker}"
    url = _with_path(servers.postgres_url, name)

    async def make() -> None:
        connection = await asyncpg.connect(servers.postgres_url, timeout=10)
        try:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        await PostgresSchema(PostgresSettings(url=url)).upgrade()

    asyncio.run(make())
    return url


@pytest.fixture
def postgres_url(migrated_url: str) -> str:
    """Return a migrated, empty database."""

    async def empty() -> None:
        connection = await asyncpg.connect(migrated_url, timeout=10)
        try:
            await connection.execute("SET lock_timeout = '10s'")
            await connection.execute(_EMPTY_ALL_TABLES)
        finally:
            await connection.close()

    asyncio.run(empty())
    return migrated_url


# Only tables that have pages, or an estimate of ANALYZE: to truncate one that is empty takes 3 ms all the same.
_EMPTY_ALL_TABLES = """
DO $$ DECLARE names text; BEGIN
  SELECT string_agg(format('%I', relname), ', ') INTO names FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
      AND relname NOT IN ('alembic_version', 'applied_migrations')
      AND (pg_relation_size(oid) > 0 OR reltuples >= 0);
  IF names IS NOT NULL THEN EXECUTE 'TRUNCATE ' || names || ' RESTART IDENTITY CASCADE'; END IF;
END $$
"""


@pytest.fixture
def redis_url(servers: Servers, worker: int) -> str:
    """Return an empty database."""
    url, _ = redis_urls(servers, worker)
    with Redis.from_url(url, socket_timeout=10) as client:
        client.flushdb()
    return url


@pytest.fixture
def mongo_url(servers: Servers) -> str:
    """Return the address of MongoDB; `mongo_database` says which database to use there."""
    return servers.mongo_url


@pytest.fixture
def mongo_database(servers: Servers, worker: int) -> str:
    """Return the name of an empty database."""
    name = f"portico_test_{worker}"
    client: MongoClient[dict[str, object]]
    with MongoClient(servers.mongo_url, serverSelectionTimeoutMS=10_000) as client:
        client.drop_database(name)
    return name


@pytest.fixture
def s3_settings(servers: Servers) -> S3Settings:
    """Return a bucket, which may hold what other tests left."""
    return s3_of(servers)


def _with_path(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))
