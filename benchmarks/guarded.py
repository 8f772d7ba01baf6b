"""Row 1: a guarded GET beside the same handler in bare FastAPI, and beside two simple guards of peers.

What counts is the CPU time of the server process per request, in the round that was disturbed least
(`processes.undisturbed`). The median and the requests per second, which depend on what else the machine does, stand
beside it.
"""

import asyncio
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from benchmarks.processes import (
    answer,
    cpu_seconds,
    environment_of_portico,
    process,
    undisturbed,
)
from benchmarks.report import Figure
from benchmarks.servers import Servers

CONNECTIONS = 64
_REQUESTS = 2_000
_SHORT_ROUNDS = 2
"""For each round that was asked for: of short ones, some are not disturbed."""
_AGAIN = "ours, another process"
_FEW = 4
_OPTIMISATIONS = {
    "a frozen heap": CONNECTIONS,
    "the route table": CONNECTIONS,
    "joined writes": CONNECTIONS,
    "remembered tokens": CONNECTIONS,
    "a kept connection": _FEW,  # many share a round trip, and what it costs
}
"""Each is measured by doing without it (`portico_http.WITHOUT`), over so many connections."""


@dataclass(slots=True)
class Contender:
    """A server process, and what was measured of one of its routes."""

    pid: int
    port: int
    requests: Sequence[str]
    connections: int = CONNECTIONS
    cpu: list[float] = field(default_factory=list)
    """Microseconds per request, a round each."""
    rate: list[float] = field(default_factory=list)
    """Requests per second, a round each."""

    @property
    def cost(self) -> float:
        """Microseconds of CPU per request, in the round that was disturbed least."""
        return undisturbed(self.cpu)


async def measure(servers: Servers, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figures; all contenders take turns, and the first round warms up and does not count."""
    async with AsyncExitStack() as stack:
        contenders = await _contenders(servers, stack)
        load = await stack.enter_async_context(process("benchmarks.load", {}))
        for number in range(rounds * _SHORT_ROUNDS + 1):
            say(f"guarded: round {number} of {rounds * _SHORT_ROUNDS}")
            # In another order each time, so that nobody always comes after the same one.
            for name in random.sample(list(contenders), len(contenders)):
                await _round(load, name, contenders[name])
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
        _AGAIN: ("portico_http", {}, ()),
        **{f"without {name}": ("portico_http", {}, (name,)) for name in _OPTIMISATIONS},
    }

    async def start(number: int, name: str) -> Mapping[str, Contender]:
        module, variables, arguments = wanted[name]
        environment = await environment_of_portico(servers, f"bench_http_{number}", number)
        started = await stack.enter_async_context(
            process(f"benchmarks.contenders.{module}", environment | variables, *arguments)
        )
        served = await answer(started)
        return {
            name if route == "page" else f"{name}, {route}": Contender(
                started.pid, served["port"], requests
            )
            for route, requests in served["requests"].items()
            if route == "page" or not arguments  # what is left out matters to guarded requests
        }

    for contenders in await asyncio.gather(*(start(*each) for each in enumerate(wanted, start=1))):
        found |= contenders
    for name, connections in _OPTIMISATIONS.items():
        found[f"without {name}"].connections = connections
    found[_ours_over(_FEW)] = replace(found["ours"], connections=_FEW, cpu=[], rate=[])
    return found


def _ours_over(connections: int) -> str:
    return "ours" if connections == CONNECTIONS else f"ours over {connections} connections"


async def _round(load: asyncio.subprocess.Process, name: str, contender: Contender) -> None:
    order = {
        "port": contender.port,
        "heads": contender.requests,
        "requests": _REQUESTS,
        "connections": contender.connections,
    }
    before = cpu_seconds(contender.pid)
    result = await answer(load, order)
    spent = cpu_seconds(contender.pid) - before
    if result["failures"] or result["successes"] != _REQUESTS:
        raise RuntimeError(f"{name}: not every answer is a success: {result}")
    contender.cpu.append(spent / _REQUESTS * 1e6)
    contender.rate.append(_REQUESTS / result["seconds"])


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
            what="guarded GET at WARNING, CPU per request, median of all rounds",
            unit="µs",
            ours=statistics.median(ours.cpu),
            reference=statistics.median(bare.cpu),
            reference_name="bare FastAPI",
        ),
        Figure(
            row=1,
            what="guarded GET at WARNING, CPU per request",
            unit="µs",
            ours=ours.cost,
            reference=contenders[_AGAIN].cost,
            reference_name="the same in another process, so all but 1 is noise",
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
                ours=contenders[_ours_over(connections)].cost,
                reference=contenders[f"without {name}"].cost,
                reference_name=f"without {name}, {connections} connections",
                ratio_target=1,
            )
            for name, connections in _OPTIMISATIONS.items()
        ),
    ]
