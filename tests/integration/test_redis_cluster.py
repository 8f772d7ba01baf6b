"""A Redis Cluster: what a fail-over costs, what stays true meanwhile and afterwards, and how slots move."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from adapters.redis.access_versions import RedisClusterAccessVersions
from adapters.redis.client import redis_client
from adapters.redis.cluster import RedisClusterClient
from adapters.redis.event_emitter import RedisEventEmitter
from adapters.redis.health import RedisProbe
from adapters.redis.servers import redis_servers
from adapters.redis.sessions import RedisSessionStore, session_key
from application.ports.access_versions import Change
from application.settings import RedisSettings
from domain.errors import Unavailable
from domain.identity import UserId
from domain.sessions import Session
from entrypoints.cli.broker import CeleryProbe
from tests.support.builders import a_uuid
from tests.support.readme import ROOT, blocks
from tests.support.redis_cluster import ValkeyCluster, ask
from tests.support.sessions import ABSOLUTE, IDLE, a_session
from tests.support.valkey import Valkey, free_port
from tests.support.waiting import until

SOON = timedelta(milliseconds=200)
VERSIONS = "auth:version"

_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    cluster = ValkeyCluster(tmp_path_factory.mktemp("cluster"))
    asyncio.run(cluster.start())
    yield cluster
    cluster.kill()


class Process:
    """What a process of the API has of Redis."""

    def __init__(self, client: RedisClusterClient) -> None:
        self.client = client
        self.sessions = RedisSessionStore(client)
        self.versions = RedisClusterAccessVersions(client, dirty_ttl=SOON)

    async def open(self, user_id: UserId) -> Session:
        opened = await self.sessions.open(
            a_session(user_id=user_id), idle=IDLE, absolute=ABSOLUTE, cap=20
        )
        return opened.session

    async def is_alive(self, session: Session) -> bool:
        return (await self.versions.fetch(session.user_id, session.id)).session_alive

    async def is_stable(self) -> bool:
        return (await self.versions.fetch(UserId(a_uuid()), a_session().id)).stable


@asynccontextmanager
async def a_process(cluster: ValkeyCluster) -> AsyncIterator[Process]:
    client = redis_servers(RedisSettings(url=cluster.url, timeout=timedelta(seconds=1.5)))
    assert isinstance(client, RedisClusterClient)
    try:
        yield Process(client)
    finally:
        await client.aclose()


@pytest.fixture
async def process(cluster: ValkeyCluster) -> AsyncIterator[Process]:
    await until(cluster.is_whole)
    async with a_process(cluster) as process:
        await until(process.is_stable)
        yield process


async def a_user_of(cluster: ValkeyCluster, master: Valkey) -> UserId:
    """Return a user whose sessions a master has."""
    while True:
        user_id = UserId(a_uuid())
        if await cluster.master_of(f"auth:sessions:<{{{user_id}}}>") is master:
            return user_id


async def masters_of(cluster: ValkeyCluster) -> tuple[Valkey, Valkey]:
    """Return the master of the versions, and another one."""
    of_versions = await cluster.master_of(VERSIONS)
    while True:
        other = await cluster.master_of(str(a_uuid()))
        if other is not of_versions:
            return of_versions, other


async def test_a_master_that_is_killed_under_load_stops_its_users_only_and_believes_nothing(
    cluster: ValkeyCluster, process: Process
) -> None:
    """Its replica takes over. Users who were logged in there log in again, and users elsewhere notice nothing."""
    of_versions, killed = await masters_of(cluster)
    there = [await process.open(await a_user_of(cluster, killed)) for _ in range(10)]
    elsewhere = [await process.open(await a_user_of(cluster, of_versions)) for _ in range(10)]
    ended = there.pop()
    answers: list[tuple[Session, bool | None, float]] = []
    stop = asyncio.Event()

    async def guard(session: Session) -> None:
        while not stop.is_set():
            started = monotonic()
            try:
                alive: bool | None = await process.is_alive(session)
            except Unavailable:
                alive = None
            answers.append((session, alive, monotonic() - started))
            await asyncio.sleep(0.005)

    async def can_log_in() -> bool:
        try:
            await process.open(there[0].user_id)
        except Unavailable:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        for session in (*there, *elsewhere):
            group.create_task(guard(session))
        await asyncio.sleep(0.2)
        await process.sessions.end(ended.user_id, ended.id)
        killed_at = monotonic()
        await killed.kill()
        await until(can_log_in)
        took = monotonic() - killed_at
        await asyncio.sleep(0.2)
        stop.set()

    of_those = {
        name: [alive for session, alive, _ in answers if session in sessions]
        for name, sessions in {"there": there, "elsewhere": elsewhere}.items()
    }
    _log.info("users can log in after %.2f s, %d refused", took, of_those["there"].count(None))
    assert set(of_those["elsewhere"]) == {True}
    # Alive, then not known, then over; never alive again.
    for session in there:
        seen = [alive for each, alive, _ in answers if each is session]
        assert seen[0] is True
        assert seen[-1] is False
        assert True not in seen[seen.index(None) :]
    assert not await process.is_alive(ended)
    assert max(seconds for *_, seconds in answers) < 2
    await killed.start()
    await until(cluster.is_whole)


async def test_a_replica_that_takes_over_the_versions_revives_none_and_marks_everyone_dirty(
    cluster: ValkeyCluster, process: Process
) -> None:
    of_versions, other = await masters_of(cluster)
    session = await process.open(await a_user_of(cluster, other))
    before = await process.versions.fetch(session.user_id, session.id)
    await process.versions.mark_dirty(Change(id=a_uuid(), user_ids=[session.user_id]))
    await cluster.promote(await cluster.replica_of(of_versions))

    after = await process.versions.fetch(session.user_id, session.id)
    assert after.session_alive
    assert (before.stable, after.stable) == (True, False)
    await until(process.is_stable)
    later = await process.versions.fetch(session.user_id, session.id)
    assert len({before.version, after.version, later.version}) > 1
    assert later.version != before.version


async def test_a_master_that_becomes_master_again_without_a_restart_is_not_believed(
    cluster: ValkeyCluster, process: Process
) -> None:
    """Its run is the same, but it may have missed what ended while its replica was the master."""
    _, master = await masters_of(cluster)
    session = await process.open(await a_user_of(cluster, master))
    replica = await cluster.replica_of(master)
    await cluster.promote(replica)
    assert not await process.is_alive(session)
    await cluster.promote(master)
    key = session_key(session.user_id, session.id)
    assert await ask(master, "EXISTS", key) == 1
    assert not await process.is_alive(session)
    assert await process.sessions.find(session.user_id, session.id) is None


async def test_a_slot_moves_while_it_is_asked_for(cluster: ValkeyCluster, process: Process) -> None:
    """Commands find their keys on either side. Sessions stay with the server that opened them: they are over."""
    of_versions, other = await masters_of(cluster)
    session = await process.open(await a_user_of(cluster, other))
    key = f"auth:sessions:<{{{session.user_id}}}>"
    slot = await ask(other, "CLUSTER", "KEYSLOT", key)
    source, target = [await ask(node, "CLUSTER", "MYID") for node in (other, of_versions)]
    await ask(of_versions, "CLUSTER", "SETSLOT", slot, "IMPORTING", source)
    await ask(other, "CLUSTER", "SETSLOT", slot, "MIGRATING", target)
    assert await process.is_alive(session)
    for moving in await ask(other, "CLUSTER", "GETKEYSINSLOT", slot, 100):
        await ask(other, "MIGRATE", "127.0.0.1", of_versions.port, moving, 0, 5000)

    assert not await process.is_alive(session)  # by ASK
    assert await process.client.execute("EXISTS", key) == 1
    for node in (of_versions, other):
        await ask(node, "CLUSTER", "SETSLOT", slot, "NODE", target)
    assert await process.client.execute("EXISTS", key) == 1  # by MOVED
    assert await process.is_alive(await process.open(session.user_id))
    await until(cluster.is_whole)


async def test_events_are_heard_after_the_server_of_the_channel_is_replaced(
    cluster: ValkeyCluster, process: Process
) -> None:
    emitter = RedisEventEmitter(process.client)
    heard: list[str] = []

    async def listen() -> None:
        async for message in emitter.listen():
            heard.append(message)  # noqa: PERF401 - it never ends

    async def said(word: str) -> None:
        async def is_heard() -> bool:
            await emitter.publish(word)
            await asyncio.sleep(0.02)
            return word in heard

        await until(is_heard)

    listening = asyncio.create_task(listen())
    try:
        await said("before")
        master = await cluster.master_of("portico:events:0")
        await master.kill()
        await said("after")
    finally:
        listening.cancel()
        await asyncio.wait([listening])
    await master.start()
    await until(cluster.is_whole)


async def test_the_probe_asks_every_master(cluster: ValkeyCluster, process: Process) -> None:
    probe = RedisProbe(process.client)
    await probe.check()
    _, other = await masters_of(cluster)
    other.pause()
    with pytest.raises(Unavailable):
        await probe.check()
    other.resume()
    await until(cluster.is_whole)


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_server_takes_the_configuration_of_the_documentation(
    tmp_path: Path, number: int
) -> None:
    """The one for Sentinels, the one for a cluster, and of the one for TLS what a server without takes."""
    block = blocks("conf", (ROOT / "docs" / "scaling.md").read_text())[number]
    shown = [line for line in block.splitlines() if not line.startswith(("tls-", "port "))]
    options = [
        f"--{word}" if n == 0 else word for line in shown for n, word in enumerate(line.split())
    ]
    with Valkey(tmp_path, *options, "--cluster-port", str(free_port())) as server:
        for name, value in map(str.split, shown):
            assert await ask(server, "CONFIG", "GET", name) == [name, value]


@pytest.mark.parametrize("asker", ["portico", "broker", "result"])
async def test_a_node_of_a_cluster_is_refused_where_one_server_is_needed(
    cluster: ValkeyCluster, asker: str
) -> None:
    """It would serve the keys of its own slots, and refuse all others."""
    url = cluster.nodes[0].url
    client = redis_client(RedisSettings(url=url))
    probe = RedisProbe(client) if asker == "portico" else CeleryProbe(asker, url)

    with pytest.raises(Unavailable) as refused:
        await probe.check()

    assert "it is a node of a Redis Cluster" in (refused.value.reason or "")
    await client.aclose()


async def test_one_server_is_no_cluster(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        client = redis_servers(RedisSettings(url=server.url.replace("redis:", "redis+cluster:")))
        with pytest.raises(Unavailable) as refused:
            await client.execute("GET", "key")
        assert "no Redis Cluster" in (refused.value.reason or "")
        await client.aclose()
