"""Row 15: how long the API takes from the start of its process to its first answer."""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import httpx

from benchmarks.processes import environment_of_portico
from benchmarks.report import Figure
from benchmarks.servers import Servers
from local_stack.servers import choose_ports

_PORTICO = ("-m", "entrypoints.cli.app")
_BARE = ("-m", "uvicorn", "--log-level", "error", "benchmarks.contenders.bare_http:app")


async def measure(servers: Servers, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figure; ours and the bare one take turns, and the first round does not count."""
    environment = await environment_of_portico(servers, "bench_start", 15)
    migrating = await _start((*_PORTICO, "migrate"), environment)
    if await migrating.wait():
        raise RuntimeError("the database cannot be migrated")
    ours, bare = [], []
    for number in range(rounds + 1):
        say(f"start: round {number} of {rounds}")
        ours.append(await _seconds((*_PORTICO, "api", "--port"), "/livez", environment))
        bare.append(await _seconds((*_BARE, "--port"), "/api/v1/bench/page", environment))
    return [
        Figure(
            row=15,
            what="start of the API, to its first answer",
            unit="s",
            ours=statistics.median(ours[1:]),
            reference=statistics.median(bare[1:]),
            reference_name="bare FastAPI, which asks no server",
            target=1.5,
        )
    ]


async def _seconds(command: tuple[str, ...], path: str, environment: Mapping[str, str]) -> float:
    port = choose_ports(("http",), {})["http"]
    started = time.perf_counter()
    process = await _start((*command, str(port)), environment)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            async with asyncio.timeout(120):
                while not await _answers(client, path):  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.01)
            return time.perf_counter() - started
    finally:
        process.terminate()
        await process.wait()


async def _answers(client: httpx.AsyncClient, path: str) -> bool:
    try:
        return (await client.get(path)).is_success
    except httpx.TransportError:
        return False


async def _start(
    arguments: tuple[str, ...], environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        env={**os.environ, **environment},  # noqa: TID251 - handed on to a child, not read
        stdout=asyncio.subprocess.DEVNULL,
    )
