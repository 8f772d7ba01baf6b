"""A master that Sentinels watch: what a fail-over costs, and which servers are not believed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from time import monotonic

import pytest

from adapters.redis.access_versions import RedisAccessVersions
from adapters.redis.client import RedisClient
from adapters.redis.event_emitter import RedisEventEmitter
from adapters.redis.inspection import RedisInspection
from adapters.redis.servers import redis_servers
from adapters.redis.sessions import RedisSessionStore, session_key
from adapters.system import SystemClock
from application.ports.health import Concern
from application.settings import RedisSettings
from domain.errors import Unavailable
from domain.identity import UserId
from domain.sessions import Session
from tests.support.redis_cluster import ask
from tests.support.redis_sentinel import WatchedValkeys
from tests.support.sessions import ABSOLUTE, ADA, GRACE_HOPPER, IDLE, a_session
from tests.support.valkey import free_port
from tests.support.waiting import until

_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedValkeys]:
    watched = WatchedValkeys(tmp_path_factory.mktemp("watched"))
    try:
        asyncio.run(watched.start())
        yield watched
    finally:
        watched.kill()


@pytest.fixture
async def client(watched: WatchedValkeys) -> AsyncIterator[RedisClient]:
    client = redis_servers(RedisSettings(url=watched.url, timeout=timedelta(seconds=1.5)))
    assert isinstance(client, RedisClient)
    await until(watched.is_whole)
    await until(lambda: is_believed(client))
    yield client
    await client.aclose()


async def is_believed(client: RedisClient, *, of: UserId = ADA) -> bool:
    """Return whether the master may write: it counts its replicas once a second."""
    try:
        await opened(client, of)
    except Unavailable:
        return False
    return True


async def opened(client: RedisClient, user_id: UserId = ADA) -> Session:
    store = RedisSessionStore(client)
    session = a_session(user_id=user_id)
    return (await store.open(session, idle=IDLE, absolute=ABSOLUTE, cap=20)).session


async def test_a_fail_over_under_load_logs_out_and_believes_nothing_from_before(
    watched: WatchedValkeys, client: RedisClient
) -> None:
    versions = RedisAccessVersions(client)
    emitter = RedisEventEmitter(client)
    session = await opened(client)
    answers: list[bool | None] = []
    waits: list[float] = []
    heard: list[str] = []
    stop = asyncio.Event()

    async def guard() -> None:
        while not stop.is_set():
            started = monotonic()
            try:
                answers.append((await versions.fetch(ADA, session.id)).session_alive)
            except Unavailable:
                answers.append(None)
            waits.append(monotonic() - started)
            await asyncio.sleep(0.005)

    async def listen() -> None:
        async for message in emitter.listen():
            heard.append(message)  # noqa: PERF401 - it never ends

    async def is_heard() -> bool:
        await emitter.publish("hello")
        return "hello" in heard

    tasks = [asyncio.create_task(each()) for each in (guard, guard, guard, listen)]
    await until(is_heard)
    master = await watched.master()
    killed_at = monotonic()
    await master.kill()
    heard.clear()
    await until(lambda: is_believed(client))
    _log.info("users can log in after %.2f s", monotonic() - killed_at)
    await until(is_heard)
    stop.set()
    tasks[3].cancel()
    await asyncio.wait(tasks)

    assert answers[0] is True
    assert answers[-1] is False
    assert True not in answers[answers.index(None) :]
    assert max(waits) < 2
    # The one from before comes back as a replica, and is not asked.
    await master.start()
    assert not (await versions.fetch(ADA, session.id)).session_alive
    # A Sentinel would make it one ten seconds later.
    await ask(master, "REPLICAOF", "127.0.0.1", (await watched.master()).port)
    await until(watched.is_whole)


async def test_a_master_that_sees_no_replica_any_more_is_not_believed(
    watched: WatchedValkeys, client: RedisClient
) -> None:
    """It may have been replaced, and cannot know; `min-replicas-to-write` says how long it is believed."""
    session = await opened(client)
    versions = RedisAccessVersions(client)
    assert (await versions.fetch(ADA, session.id)).session_alive
    master = await watched.master()
    for server in watched.servers:
        if server is not master:
            server.pause()

    async def is_refused() -> bool:
        try:
            await versions.fetch(ADA, session.id)
        except Unavailable as error:
            return "may have been replaced" in (error.reason or "")
        return False

    await until(is_refused)
    for server in watched.servers:
        server.resume()
    await until(watched.is_whole)
    await until(lambda: is_believed(client))


async def test_a_master_that_lost_a_log_out_while_it_was_a_replica_is_not_believed(
    watched: WatchedValkeys, client: RedisClient
) -> None:
    """Its run is the same, but a successor, which did not hear of the log-out, gave it the session back."""
    sessions, versions = RedisSessionStore(client), RedisAccessVersions(client)
    session = await opened(client)
    key = session_key(ADA, session.id)
    master = await watched.master()
    successor = next(server for server in watched.servers if server is not master)

    async def has_the_session() -> bool:
        return bool(await ask(master, "EXISTS", key))

    await until(lambda: ask(successor, "EXISTS", key))
    # By hand, faster than the Sentinels notice.
    await ask(successor, "REPLICAOF", "NO", "ONE")
    assert await sessions.end(ADA, session.id)
    assert not await has_the_session()
    await ask(master, "REPLICAOF", "127.0.0.1", successor.port)
    await until(has_the_session)
    await ask(master, "REPLICAOF", "NO", "ONE")
    await ask(successor, "REPLICAOF", "127.0.0.1", master.port)
    await until(watched.is_whole)
    await until(lambda: is_believed(client, of=GRACE_HOPPER))

    assert await has_the_session()
    assert not (await versions.fetch(ADA, session.id)).session_alive
    assert await sessions.find(ADA, session.id) is None


async def test_a_master_that_needs_no_replica_to_write_is_reported(
    watched: WatchedValkeys, client: RedisClient
) -> None:
    """`portico doctor` shows it: without replicas that follow, it would believe sessions that ended elsewhere."""
    inspection = RedisInspection(client, SystemClock(), timedelta(seconds=30))

    async def concern() -> Concern:
        return next(each.concern for each in await inspection.remarks() if each.about == "replicas")

    assert await concern() is Concern.NONE
    master = await watched.master()
    await ask(master, "CONFIG", "SET", "min-replicas-to-write", 0)
    try:
        assert await concern() is Concern.WARNING
    finally:
        await ask(master, "CONFIG", "SET", "min-replicas-to-write", 1)
    await until(lambda: is_believed(client))


async def test_a_sentinel_that_is_away_is_passed_over(watched: WatchedValkeys) -> None:
    url = watched.url.replace("redis+sentinel://", f"redis+sentinel://127.0.0.1:{free_port()},")
    client = redis_servers(RedisSettings(url=url))
    assert await client.execute("GET", "key") is None
    await client.aclose()


async def test_sentinels_that_do_not_know_the_name_have_no_master(watched: WatchedValkeys) -> None:
    client = redis_servers(RedisSettings(url=watched.url.replace("/portico/", "/other/")))
    with pytest.raises(Unavailable):
        await client.execute("GET", "key")
    await client.aclose()
