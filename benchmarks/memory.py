"""Row 16: the memory of idle processes, and of an API that has worked for a while."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx

from benchmarks.processes import environment_of_portico, with_descendants
from benchmarks.report import Figure
from benchmarks.servers import Servers
from entrypoints.heartbeat import heartbeats
from local_stack.servers import choose_ports

_PORTICO = ("-m", "entrypoints.cli.app")
# What `portico worker` becomes, once it has seen MongoDB and S3, which are not here.
_WORKER = ("-m", "entrypoints.celery.command", "worker")
_TASKS = 10_000
_IDLE = 5.0
"""Seconds that a process has before it is measured."""
_REQUESTS = 2_000
_SEED = """
INSERT INTO periodic_tasks (name, task, kind, schedule)
SELECT 'task ' || n, 'bench.noop', 'interval', jsonb_build_object('every', 86400 + n % 50, 'period', 'seconds')
  FROM generate_series(1, $1::int) AS n
"""


async def measure(servers: Servers, _rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figures, in MB of 2²⁰ bytes; a forked child counts with what it does not share (PSS)."""
    with tempfile.TemporaryDirectory(prefix="portico-memory-") as directory:
        environment = {
            **await environment_of_portico(servers, "bench_memory", 14),
            "PORTICO_DATA_DIR": directory,
        }
        return await _measure(environment, Path(directory), say)


async def _measure(
    environment: Mapping[str, str], data_dir: Path, say: Callable[[str], None]
) -> list[Figure]:
    async with _started((*_PORTICO, "migrate"), environment) as migrating:
        if await migrating.wait():
            raise RuntimeError("the database cannot be migrated")
    await _seed(environment["PORTICO_POSTGRES_URL"])
    say("memory: idle API")
    port = choose_ports(("http",), {})["http"]
    async with _started((*_PORTICO, "api", "--port", str(port)), environment) as api:
        await _until_answered(port)
        await asyncio.sleep(_IDLE)
        idle = _resident(api.pid)
        say("memory: API after requests")
        await _work(port)
        worked = _resident(api.pid)
        await _work(port)
        again = _resident(api.pid)
    say("memory: idle worker")
    async with _started((*_WORKER, "--concurrency", "2"), environment) as worker:
        while len(pids := with_descendants(worker.pid)) < 3:  # noqa: ASYNC110, PLR2004 - nothing tells
            await asyncio.sleep(0.1)
        await asyncio.sleep(_IDLE)
        parent, child = _resident(worker.pid), max(map(_proportional, pids[1:]))
    say(f"memory: idle beat with {_TASKS:,} tasks")
    async with _started((*_PORTICO, "beat"), environment) as beat:
        await _until_leading(beat.pid, data_dir)
        await asyncio.sleep(_IDLE)
        beating = _resident(beat.pid)
    return [
        _figure("API, idle", idle, target=130),
        _figure(f"API, after {_REQUESTS:,} requests", worked, target=1.15 * idle),
        _figure(f"API, after {2 * _REQUESTS:,}", again, target=1.05 * worked),
        _figure("worker, idle", parent, target=120),
        _figure("worker, what a child does not share", child),
        _figure(f"beat with {_TASKS:,} tasks, idle", beating, target=110),
    ]


def _figure(what: str, megabytes: float, *, target: float | None = None) -> Figure:
    return Figure(row=16, what=f"memory: {what}", unit="MB", ours=megabytes, target=target)


def _resident(pid: int) -> float:
    return _of_rollup(pid, "Rss:")


def _proportional(pid: int) -> float:
    return _of_rollup(pid, "Pss:")


def _of_rollup(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {name} of process {pid}")


async def _seed(postgres: str) -> None:
    connection = await asyncpg.connect(postgres)
    try:
        await connection.execute("DELETE FROM periodic_tasks")
        await connection.execute(_SEED, _TASKS)
    finally:
        await connection.close()


async def _until_answered(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        async with asyncio.timeout(60):
            while True:
                try:
                    await client.get("/livez")
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                else:
                    return


async def _until_leading(pid: int, data_dir: Path) -> None:
    """Wait for what `portico beat --check` looks at."""
    async with asyncio.timeout(60):
        while (pid, True) not in [(p, said["leads"]) for p, said in heartbeats(data_dir, "beat")]:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)


async def _work(port: int) -> None:
    """Ask for what anyone may ask for, valid or not, over many connections."""
    paths = ("/livez", "/api/v1/auth/keys/public", "/api/v1/auth/user/info", "/nowhere")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for number in range(0, _REQUESTS, 50):
            await asyncio.gather(
                *(
                    client.get(
                        paths[each % len(paths)], headers={"authorization": f"Bearer {number}.x.y"}
                    )
                    for each in range(50)
                )
            )


@asynccontextmanager
async def _started(
    command: tuple[str, ...], environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        env={**os.environ, **environment},  # noqa: TID251 - handed on to a child, not read
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
