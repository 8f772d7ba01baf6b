"""Everything that scales out, at once: processes of the API behind a balancer, a Redis Cluster, and PgBouncer."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from local_stack.servers import choose_ports
from tests.e2e.chat import Process, balancer
from tests.e2e.command import Started, portico, starting
from tests.e2e.fleet import ADMINISTRATOR, log_in, made, variables_of
from tests.e2e.jobs import EACH_SECOND
from tests.support import pgbouncer
from tests.support.plain_http import NO_TLS
from tests.support.readme import ROOT, documented
from tests.support.redis_cluster import ValkeyCluster
from tests.support.servers import Servers

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(240),
    pytest.mark.skipif(pgbouncer.program() is None, reason=pgbouncer.MISSING),
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ValkeyCluster]:
    directory = tmp_path / "cluster"
    directory.mkdir()
    cluster = ValkeyCluster(directory, replicas=0)
    asyncio.run(cluster.start())
    yield cluster
    cluster.kill()


@pytest.fixture
def variables(
    servers: Servers, worker: int, cluster: ValkeyCluster, tmp_path: Path
) -> Iterator[dict[str, str]]:
    variables = variables_of(servers, worker)
    directory = tmp_path / "pooler"
    directory.mkdir()
    # Older ones lose prepared statements in transaction mode, and are refused.
    mode = "transaction" if pgbouncer.version() >= (1, 21) else "session"
    direct, one_redis = variables["PORTICO_POSTGRES_URL"], variables["PORTICO_REDIS_URL"]
    asyncio.run(_end_idle_transactions(direct))
    with pgbouncer.PgBouncer(directory, direct, mode) as pooler:
        yield variables | {
            "PORTICO_POSTGRES_URL": pooler.url,
            "PORTICO_POSTGRES_DIRECT_URL": direct,
            "PORTICO_REDIS_URL": cluster.url,
            "PORTICO_BROKER_URL": one_redis,
            "PORTICO_RESULT_URL": one_redis,
            "PORTICO_HTTP_TRUSTED_PROXIES": "127.0.0.1",
            "PORTICO_WORKER_CONCURRENCY": "1",
        }


async def _end_idle_transactions(url: str) -> None:
    """Set for the database what Portico cannot set for a connection of a pooler."""
    connection = await asyncpg.connect(url)
    try:
        name = urlsplit(url).path[1:]
        await connection.execute(
            f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '30s'"
        )
    finally:
        await connection.close()


async def test_clients_of_a_balancer_notice_nothing_of_all_that_is_behind_it(
    variables: dict[str, str], tmp_path: Path
) -> None:
    """They log in at one process and are known to the other, hear what is said at the other, and jobs run."""
    ports = choose_ports(("api-0", "api-1"), {})
    processes = [Process(port, tmp_path / name, variables) for name, port in ports.items()]
    with ExitStack() as stack:
        for process in processes:
            stack.callback(process.stack.close)
            process.start()
        jobs = []
        for command in ("worker", "beat"):
            directory = tmp_path / command
            directory.mkdir()
            started = starting(command, "--wait", "100", directory=directory, **variables)
            jobs.append(stack.enter_context(started))
        created = await asyncio.to_thread(
            lambda: portico("create-admin", directory=tmp_path, **variables)
        )
        assert created.returncode == 0, created.stderr
        await asyncio.gather(*(process.wait_until_ready() for process in processes))
        async with balancer(processes) as address:
            await _be_a_client(address, [process.url for process in processes], jobs)


async def _be_a_client(address: str, urls: list[str], jobs: list[Started]) -> None:
    async with httpx.AsyncClient(base_url=address, verify=NO_TLS, timeout=30) as http:
        http.headers["X-Forwarded-For"] = "203.0.113.7"
        http.headers.update(await log_in(http, ADMINISTRATOR))
        for url in urls:
            sessions = await made(await http.get(f"{url}/api/v1/auth/sessions"))
            assert len(sessions) == 1
        body = {"name": "prune", "task": "portico.prune_runs", "maxRuns": 1, **EACH_SECOND}
        body["options"] = {"expires": 60}  # not with the next slot: the worker is still starting
        task = await made(await http.post("/api/v1/periodic-tasks", json=body))

        room = await made(await http.post("/api/v1/rooms", json={"name": "Hall"}))
        await _talk(urls, room["id"], http.headers["Authorization"].removeprefix("Bearer "))

        [run] = await _ended_runs(http, task["id"], jobs)
        assert run["state"] == "succeeded"

        [session] = await made(await http.get("/api/v1/auth/sessions"))
        assert session["address"] == "203.0.113.7"
        await made(await http.post("/api/v1/auth/logout/all"))
        for url in urls:
            assert (await http.get(f"{url}/api/v1/auth/sessions")).status_code == 401


async def _ended_runs(
    http: httpx.AsyncClient, task_id: str, jobs: list[Started]
) -> list[dict[str, Any]]:
    while True:
        for process in jobs:
            assert process.process.poll() is None, process.said()
        runs: list[dict[str, Any]] = (
            await made(await http.get(f"/api/v1/periodic-tasks/{task_id}/runs"))
        )["records"]
        if any(run["finishedAt"] for run in runs):
            return runs
        await asyncio.sleep(0.1)


async def _talk(urls: list[str], room: str, token: str) -> None:
    """Say something at one process, and hear it at the other."""

    async def the_token() -> str:
        return token

    make = documented(ROOT / "docs" / "realtime.md", "chat_client.py")["Room"]
    here, there = [make(url, room, the_token) for url in urls]
    running = [asyncio.create_task(each.run()) for each in (here, there)]
    try:
        async with asyncio.timeout(30):
            await here.send("Is anybody there?")
            heard: dict[str, Any] = await there.messages.get()
        assert heard["text"] == "Is anybody there?"
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
