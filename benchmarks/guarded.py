"""Row 1: a guarded GET beside the same handler in bare FastAPI, and beside two simple guards of peers.

What counts is the CPU time of the server process per request: it repeats within 5 to 10 % on a busy machine, requests
per second do not.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.report import Figure
from benchmarks.servers import Servers

CONNECTIONS = 64
_REQUESTS = 5_000
_OPTIMISATIONS: tuple[str, ...] = ("a frozen heap", "the route table", "joined writes")
"""Each is measured by doing without it: `portico_http.WITHOUT`."""


@dataclass(slots=True)
class Contender:
    """A server process, and what was measured of one of its routes."""

    pid: int
    port: int
    requests: Sequence[str]
    cpu: list[float] = field(default_factory=list)
    """Microseconds per request, a round each."""
    rate: list[float] = field(default_factory=list)
    """Requests per second, a round each."""

    @property
    def cost(self) -> float:
        """Microseconds of CPU per request."""
        return statistics.median(self.cpu)


async def measure(servers: Servers, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figures; all contenders take turns, and the first round warms up and does not count."""
    async with AsyncExitStack() as stack:
        contenders = await _contenders(servers, stack)
        load = await stack.enter_async_context(_process("benchmarks.load", {}))
        for number in range(rounds + 1):
            say(f"guarded: round {number} of {rounds}")
            for name, contender in contenders.items():
                await _round(load, name, contender)
    for contender in contenders.values():
        del contender.cpu[0], contender.rate[0]
    return _figures(contenders)


async def _contenders(servers: Servers, stack: AsyncExitStack) -> dict[str, Contender]:
    """Start them; each has databases of its own."""
    found: dict[str, Contender] = {}
    wanted = {
        "bare": ("bare_http", {}, ()),
        "redis peer": ("redis_guard", {}, ()),
        "sql peer": ("sql_guard", {}, ()),
        "info": ("portico_http", {"PORTICO_LOG_LEVEL": "INFO"}, ()),
        "ours": ("portico_http", {}, ()),
        **{f"without {name}": ("portico_http", {}, (name,)) for name in _OPTIMISATIONS},
    }
    for number, (name, (module, variables, arguments)) in enumerate(wanted.items(), start=1):
        environment = {
            "ENVIRONMENT": "LOCAL",
            "PORTICO_POSTGRES_URL": await servers.new_database(f"bench_http_{number}"),
            "PORTICO_REDIS_URL": servers.redis_database(number),
            "PORTICO_LOG_LEVEL": "WARNING",
            # A busy machine is slow, which is not the question.
            "PORTICO_REDIS_TIMEOUT": "30s",
            "PORTICO_POSTGRES_TIMEOUT": "30s",
            # Never asked here.
            "PORTICO_MONGO_URL": "mongodb://127.0.0.1:9",
            "PORTICO_S3_URL": "http://127.0.0.1:9",
            "PORTICO_S3_ACCESS_KEY": "unused",
            "PORTICO_S3_SECRET_KEY": "unused-unused",
            **variables,
        }
        process = await stack.enter_async_context(
            _process(f"benchmarks.contenders.{module}", environment, *arguments)
        )
        served = json.loads(await _line(process))
        for route, requests in served["requests"].items():
            key = name if route == "page" else f"{name}, {route}"
            found[key] = Contender(process.pid, served["port"], requests)
    return found


async def _round(load: asyncio.subprocess.Process, name: str, contender: Contender) -> None:
    order = {
        "port": contender.port,
        "heads": contender.requests,
        "requests": _REQUESTS,
        "connections": CONNECTIONS,
    }
    assert load.stdin is not None  # noqa: S101 - it is a pipe
    before = _cpu(contender.pid)
    load.stdin.write(json.dumps(order).encode() + b"\n")
    answer = json.loads(await _line(load))
    spent = _cpu(contender.pid) - before
    if answer["failures"] or answer["successes"] != _REQUESTS:
        raise RuntimeError(f"{name}: not every answer is a success: {answer}")
    contender.cpu.append(spent / _REQUESTS * 1e6)
    contender.rate.append(_REQUESTS / answer["seconds"])


def _figures(contenders: Mapping[str, Contender]) -> list[Figure]:
    bare, ours = contenders["bare"], contenders["ours"]

    def beside_bare(what: str, name: str, target: float | None = None) -> Figure:
        return Figure(
            row=1,
            what=f"{what}, CPU per request",
            unit="µs",
            ours=contenders[name].cost,
            reference=bare.cost,
            reference_name="bare FastAPI",
            ratio_target=target,
        )

    best_peer = min("redis peer", "sql peer", key=lambda name: contenders[name].cost)
    return [
        beside_bare("guarded GET at WARNING", "ours", 0.75),
        beside_bare("guarded GET at INFO", "info", 0.6),
        beside_bare("public GET at WARNING", "ours, public", 0.95),
        beside_bare("public GET at INFO", "info, public"),
        beside_bare("guard of a peer: HS256, two round trips to Redis", "redis peer"),
        beside_bare("guard of a peer: HS256, one SELECT", "sql peer"),
        Figure(
            row=1,
            what="guarded GET beside the best peer's, CPU per request",
            unit="µs",
            ours=ours.cost,
            reference=contenders[best_peer].cost,
            reference_name=best_peer,
            ratio_target=2.5,
        ),
        Figure(
            row=1,
            what="guarded GET at WARNING",
            unit="/s",
            ours=statistics.median(ours.rate),
            reference=statistics.median(bare.rate),
            reference_name="bare FastAPI",
            more_is_better=True,
        ),
        *(
            Figure(
                row=1,
                what="guarded GET, CPU per request",
                unit="µs",
                ours=ours.cost,
                reference=contenders[f"without {name}"].cost,
                reference_name=f"without {name}",
                ratio_target=1,
            )
            for name in _OPTIMISATIONS
        ),
    ]


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used, user and system, to the microsecond (Linux)."""
    # What clock_getcpuclockid(3) returns; /proc counts in hundredths of a second.
    return time.clock_gettime((~pid << 3) | 2)


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a contender ended; its reason is above")
    return line


@asynccontextmanager
async def _process(
    module: str, variables: Mapping[str, str], *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module of ours until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        env={**os.environ, **variables},  # noqa: TID251 - handed on to a child, not read
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()
