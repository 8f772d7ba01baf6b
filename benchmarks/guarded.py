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
_OURS_OVER_FEW = "ours over few connections"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ablation:
    """An optimisation, which is measured by doing without it (`portico_http.WITHOUT`)."""

    name: str
    what: str = "guarded GET"
    beside: str = "ours"
    """Who has it, and is the same otherwise."""
    also_without: tuple[str, ...] = ()
    """What neither has."""
    connections: int = CONNECTIONS
    level: str = "WARNING"


_ABLATIONS = (
    _Ablation(name="a frozen heap"),
    _Ablation(name="the route table"),
    _Ablation(name="the guard in the route"),
    _Ablation(name="layers of our own alone"),
    _Ablation(name="joined writes"),
    _Ablation(name="remembered tokens"),
    _Ablation(name="remembered access"),
    _Ablation(
        name="a batch of misses",
        what="guarded GET of callers whose access is not remembered",
        beside="without remembered access",
        also_without=("remembered access",),
    ),
    _Ablation(name="a shared question"),
    _Ablation(name="the compiled packer"),
    _Ablation(
        name="lines written together", what="guarded GET at INFO", beside="info", level="INFO"
    ),
    # Many share a round trip, and what it costs.
    _Ablation(name="a kept connection", beside=_OURS_OVER_FEW, connections=_FEW),
)


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
        "redis peer": ("redis_guard", {}, ()),
        "info": ("portico_http", {"PORTICO_LOG_LEVEL": "INFO"}, ()),
        "ours": ("portico_http", {}, ()),
        _AGAIN: ("portico_http", {}, ()),
        **{
            f"without {each.name}": (
                "portico_http",
                {"PORTICO_LOG_LEVEL": each.level},
                (*each.also_without, each.name),
            )
            for each in _ABLATIONS
        },
        "sql peer": ("sql_guard", {}, ()),
        "bare": ("bare_http", {}, ()),
    }

    async def start(number: int, name: str) -> Mapping[str, Contender]:
        module, variables, arguments = wanted[name]
        environment = {}
        if name == "sql peer":
            environment["PORTICO_POSTGRES_URL"] = await servers.new_database("bench_http_sql")
        elif name != "bare":  # Redis has 16 databases, and each of these takes one
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
            if route == "page" or name in {"ours", "info"}
        }

    for contenders in await asyncio.gather(*(start(*each) for each in enumerate(wanted))):
        found |= contenders
    for each in _ABLATIONS:
        found[f"without {each.name}"].connections = each.connections
    found[_OURS_OVER_FEW] = replace(found["ours"], connections=_FEW, cpu=[], rate=[])
    return found


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
        *(
            Figure(
                row=1,
                what=f"guarded GET at {level}",
                unit="/s",
                ours=statistics.median(contenders[name].rate),
                reference=statistics.median(bare.rate),
                reference_name="bare FastAPI",
                more_is_better=True,
            )
            for level, name in (("WARNING", "ours"), ("INFO", "info"))
        ),
        Figure(
            row=1,
            what="the line of a request, CPU (INFO without WARNING)",
            unit="µs",
            ours=contenders["info"].cost - ours.cost,
        ),
        *(_of_ablation(each, contenders) for each in _ABLATIONS),
    ]


def _of_ablation(ablation: _Ablation, contenders: Mapping[str, Contender]) -> Figure:
    return Figure(
        row=1,
        what=f"{ablation.what}, CPU per request",
        unit="µs",
        ours=contenders[ablation.beside].cost,
        reference=contenders[f"without {ablation.name}"].cost,
        reference_name=f"without {ablation.name}, {ablation.connections} connections",
        ratio_target=1,
    )
