"""Row 14: what a page of a list takes among a million records, beside ten thousand."""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.connections import Connections
from benchmarks.processes import answer, environment_of_portico, process
from benchmarks.report import Figure
from benchmarks.servers import Servers

_ROWS = {"small": 10_000, "large": 1_000_000}
_ENTRIES = {"small": 1_000, "large": 20_000}
"""Audit entries: the local stack's document store takes too long to take more."""
_REQUESTS = 30
"""Of one list in one round."""
_REQUESTS_OF_AUDIT = 8
"""A page of it takes the local stack's document store most of a second."""
_WITHOUT_TARGET = ("users, keyword of 5 %, usernames begin with it", "audit")
"""Every match is fetched where all are late in the order; and the local stack's document store is not MongoDB."""


@dataclass(frozen=True, slots=True)
class _Server:
    port: int
    requests: dict[str, list[str]]
    plans: dict[str, str]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """For each list."""

    def p95(self, what: str) -> float:
        """Milliseconds within which 95 of 100 pages came."""
        return statistics.quantiles(self.seconds[what], n=20)[-1] * 1000


async def measure(servers: Servers, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figures; both servers take turns, and the first round warms up and does not count."""
    async with AsyncExitStack() as stack:
        say("lists: 10,000 and 1,000,000 users and runs; to build the index takes minutes")
        small, large = await asyncio.gather(
            *(_server(servers, stack, name, number) for number, name in enumerate(_ROWS, start=8))
        )
        rounds = min(rounds, 3)
        for number in range(rounds + 1):
            say(f"lists: round {number} of {rounds}")
            for what in small.requests:
                for server in (small, large):
                    seconds = await _round(server, what)
                    if number:
                        server.seconds.setdefault(what, []).extend(seconds)
    figures = [_figure(what, small, large) for what in small.requests]
    for what in small.plans:
        for name, server in (("10,000", small), ("1,000,000", large)):
            say(f"lists: keyword {what}, {name} users: {server.plans[what]}")
    return figures


def _figure(what: str, small: _Server, large: _Server) -> Figure:
    sizes = _ENTRIES if what == "audit" else _ROWS
    has_target = what not in _WITHOUT_TARGET
    return Figure(
        row=14,
        what=f"{what}: a page of {sizes['large']:,}, p95",
        unit="ms",
        ours=large.p95(what),
        reference=small.p95(what),
        reference_name=f"of {sizes['small']:,}",
        target=50 if has_target else None,
        ratio_target=0.5 if has_target else None,
    )


async def _server(servers: Servers, stack: AsyncExitStack, name: str, number: int) -> _Server:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-bench-")))
    environment = {
        **await environment_of_portico(servers, f"bench_lists_{name}", number),
        "PORTICO_MONGO_URL": servers.mongo,
        "PORTICO_MONGO_DATABASE": f"bench_lists_{name}",
        "PORTICO_MONGO_TIMEOUT": "30s",
        "PORTICO_ACCESS_LIFETIME": "1h",
    }
    sizes = (str(_ROWS[name]), str(_ENTRIES[name]))
    plans = directory / "plans"
    started = await stack.enter_async_context(
        process("benchmarks.contenders.portico_lists", environment, *sizes, str(plans))
    )
    served = await answer(started)
    return _Server(served["port"], served["requests"], json.loads(plans.read_text()))


async def _round(server: _Server, what: str) -> list[float]:
    (request,) = server.requests[what]
    seconds = []
    async with Connections(server.port, 1) as connections:
        for _ in range(_REQUESTS_OF_AUDIT if what == "audit" else _REQUESTS):
            started = time.perf_counter()
            await connections.share(1, lambda _: request.encode())
            seconds.append(time.perf_counter() - started)
    return seconds
