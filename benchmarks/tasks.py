"""Rows 6 and 7: async tasks beside plain ones, in the same pool of the same Celery."""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from benchmarks.report import Figure
from benchmarks.servers import Servers

_MESSAGES = 3_000
_POOLS = ("prefork", "threads", "solo")
_NAPS = 200


async def measure(servers: Servers, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figures; ours and the plain ones take turns."""
    broker = servers.redis_database(6)
    rounds = min(rounds, 3)  # of seconds each
    figures = []
    for pool in _POOLS:
        say(f"tasks: no-op in the {pool} pool")
        rates: dict[str, list[float]] = {"plain": [], "ours": []}
        for _ in range(rounds):
            for name, found in rates.items():
                found.append(await _rate(broker, f"bench.{name}_noop", pool, _MESSAGES))
        figures.append(
            Figure(
                row=6,
                what=f"async no-op tasks, {pool} pool",
                unit="/s",
                ours=statistics.median(rates["ours"]),
                reference=statistics.median(rates["plain"]),
                reference_name="plain Celery, sync",
                ratio_target=0.9,
                more_is_better=True,
            )
        )
    say("tasks: 200 naps in 20 threads")
    seconds = [
        _NAPS / await _rate(broker, "bench.nap", "threads", _NAPS, 20) for _ in range(rounds)
    ]
    figures.append(
        Figure(
            row=7,
            what="200 async tasks of 0.1 s in one process of 20 threads",
            unit="s",
            ours=statistics.median(seconds),
            reference=1.0,
            reference_name="ideal",
            target=1.5,
        )
    )
    return figures


async def _rate(broker: str, task: str, pool: str, messages: int, concurrency: int = 2) -> float:
    """Return how many messages a second a worker gets through: it finds all of them when it starts."""
    async with Redis.from_url(broker, socket_timeout=300) as redis:
        await redis.flushdb()
        await _publish(broker, task, messages)
        async with _worker(broker, pool, concurrency):
            await redis.blpop("begun")
            began = time.perf_counter()
            await redis.blpop("ended")
            return messages / (time.perf_counter() - began)


async def _publish(broker: str, task: str, messages: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.tasks_app", broker, task, str(messages)
    )
    if await process.wait():
        raise RuntimeError("publishing failed")


@asynccontextmanager
async def _worker(broker: str, pool: str, concurrency: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "celery", "-A", "benchmarks.tasks_app", "-b", broker, "worker"),
        *(
            "-P",
            pool,
            "-c",
            str(concurrency),
            "-l",
            "ERROR",
            "--without-gossip",
            "--without-mingle",
        ),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
