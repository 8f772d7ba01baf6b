"""Processes that are measured: started as modules of ours, asked over pipes, charged for their CPU time."""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from benchmarks.servers import Servers

_SHOWN = 3_000
"""Bytes of a log."""


@asynccontextmanager
async def process(
    module: str, variables: Mapping[str, str], *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module until the block ends; what it logged last is shown if it ended before."""
    with tempfile.TemporaryFile() as log:
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            env={**os.environ, **variables},  # noqa: TID251 - handed on to a child, not read
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=2**20,
        )
        try:
            yield started
        except Exception:
            with suppress(TimeoutError):
                await asyncio.wait_for(started.wait(), 1)
                log.seek(max(0, log.seek(0, os.SEEK_END) - _SHOWN))
                print(log.read().decode(errors="replace"), file=sys.stderr, flush=True)  # noqa: T201 - the reason
            raise
        finally:
            if started.returncode is None:
                started.terminate()
            await started.wait()


async def answer(started: asyncio.subprocess.Process, order: object = None) -> dict[str, Any]:
    """Return the next line of JSON that a process prints, after `order` was sent to it if there is one."""
    assert started.stdin is not None  # noqa: S101 - pipes
    assert started.stdout is not None  # noqa: S101
    if order is not None:
        started.stdin.write(json.dumps(order).encode() + b"\n")
    line = await started.stdout.readline()
    if not line:
        raise RuntimeError("a process that is measured ended; its reason is above")
    answered: dict[str, Any] = json.loads(line)
    return answered


def cpu_seconds(*pids: int) -> float:
    """Return the seconds of CPU that processes have used, user and system, to the microsecond (Linux)."""
    # What clock_getcpuclockid(3) returns; /proc counts in hundredths of a second.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def undisturbed(costs: Sequence[float]) -> float:
    """Return the CPU of the cheapest of some short rounds.

    Whatever else runs on the machine, or beside it on its host, takes caches away: that adds to the CPU of a round and
    never takes from it. It adds most to who touches most memory, so the ratio of medians is lower on a busy machine.
    """
    return min(costs)


def with_descendants(pid: int) -> list[int]:
    """Return a process, its children, theirs, and so on (Linux)."""
    pids = [pid]
    for parent in pids:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            pids += map(int, children.read_text().split())
    return pids


async def environment_of_portico(servers: Servers, name: str, number: int) -> dict[str, str]:
    """Return the variables of one that serves HTTP, with a new database, and an empty database of Redis."""
    async with Redis.from_url(servers.redis_database(number)) as redis:
        await redis.flushdb()
    return {
        "ENVIRONMENT": "LOCAL",
        "PORTICO_POSTGRES_URL": await servers.new_database(name),
        "PORTICO_REDIS_URL": servers.redis_database(number),
        "PORTICO_LOG_LEVEL": "WARNING",
        # It is hardly asked, but a process that cannot reach it tries again all the time.
        "PORTICO_MONGO_URL": servers.mongo,
        **servers.s3,
        # On a busy machine, too, a figure is of requests that succeed.
        "PORTICO_POSTGRES_TIMEOUT": "30s",
        "PORTICO_REDIS_TIMEOUT": "30s",
    }
