"""Rows 3, 4 and 13: what a refresh costs, what a warm request asks of servers, and how its cost grows.

What counts is the CPU time of the server process per request, in the slice of a round that was disturbed least
(`processes.undisturbed`).
"""

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from benchmarks.connections import Connections
from benchmarks.processes import (
    answer,
    cpu_seconds,
    environment_of_portico,
    process,
    undisturbed,
)
from benchmarks.report import Figure
from benchmarks.servers import Servers

_CONNECTIONS = 64
_REQUESTS = 10_000
_REFRESHES = 2_000
_SLICES = 5
"""A round is measured in so many parts."""
_CALLERS = {64: None, 1_000: 0.95, 8_000: 0.85, 30_000: 0.6}
"""How many call one process in a circle, and what the ratio to 64 of them is to be."""
_SMALL = (1_000, 1_000, 10, 64)
_LARGE = (1_000_000, 100_000, 1_000, 30_000)
"""Users, sessions, roles, callers."""


@dataclass(slots=True)
class Server:
    """A server process, with what it has written for its callers."""

    pid: int
    port: int
    environment: dict[str, str]
    requests: Sequence[bytes] = ()
    refresh_tokens: list[str] = field(default_factory=list)
    circle: Iterator[bytes] = field(init=False)
    """The requests, again and again."""

    def __post_init__(self) -> None:
        self.circle = cycle(self.requests)


async def measure(servers: Servers, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figures; all take turns. The first round warms up: the cheapest slice is never one of it."""
    async with AsyncExitStack() as stack:
        say("callers: a server of 1,000 users, and one of 1,000,000")
        small, large = await asyncio.gather(
            _portico(servers, stack, 12, _SMALL), _portico(servers, stack, 13, _LARGE)
        )
        by_hand = await _by_hand(servers, stack)
        # A process that has remembered others before answers more slowly than one that has not.
        circles = {callers: await _beside(large, callers, stack) for callers in _CALLERS}
        for server in (small, large, *circles.values()):
            await _warm_up(server)
        small_costs, costs = list[float](), {callers: list[float]() for callers in _CALLERS}
        refreshes, by_hands = list[float](), list[float]()
        rounds = min(rounds, 3)  # of so many requests that they agree
        for number in range(rounds + 1):
            say(f"callers: round {number} of {rounds}")
            small_costs += await _guarded(small)
            for callers, server in circles.items():
                costs[callers] += await _guarded(server)
            refreshes += await _refresh(small)
            by_hands += await _refresh(by_hand)
        # Now and then the process asks something of its own accord, which only ever adds.
        asked = [
            min(each)
            for each in zip(*[await _asked_of_servers(small) for _ in range(3)], strict=True)
        ]
    at_64 = undisturbed(costs[64])
    return [
        Figure(
            row=3,
            what="refresh, CPU",
            unit="µs",
            ours=undisturbed(refreshes),
            reference=undisturbed(by_hands),
            reference_name="two signatures and a script by hand",
            ratio_target=0.5,
        ),
        *(
            Figure(row=4, what=f"{what} per warm request", unit="", ours=count, target=target)
            for what, count, target in (
                ("SQL statements", asked[0], 0),
                ("round trips to Redis", asked[1], 1),
            )
        ),
        Figure(
            row=13,
            what="guarded GET at 1,000,000 users, CPU",
            unit="µs",
            ours=at_64,
            reference=undisturbed(small_costs),
            reference_name="at 1,000 users",
            ratio_target=0.95,
            size=64,
        ),
        *(
            Figure(
                row=13,
                what=f"guarded GET of {callers:,} callers in a circle, CPU",
                unit="µs",
                ours=undisturbed(costs[callers]),
                reference=at_64,
                reference_name="of 64 callers",
                ratio_target=target,
                size=callers,
            )
            for callers, target in _CALLERS.items()
            if target is not None
        ),
    ]


async def _portico(
    servers: Servers, stack: AsyncExitStack, number: int, size: tuple[int, ...]
) -> Server:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-bench-")))
    environment = {
        **await environment_of_portico(servers, f"bench_callers_{number}", number),
        "PORTICO_THROTTLE_REFRESH": "1000000/60",
        "PORTICO_ACCESS_LIFETIME": "1h",
    }
    started = await stack.enter_async_context(
        process(
            "benchmarks.contenders.portico_callers", environment, *map(str, size), str(directory)
        )
    )
    served = await answer(started)
    return Server(
        pid=started.pid,
        port=served["port"],
        environment=environment,
        requests=[line.encode() for line in _lines(directory / "guarded")],
        refresh_tokens=list(_lines(directory / "refresh")),
    )


async def _beside(server: Server, callers: int, stack: AsyncExitStack) -> Server:
    """Start another process with the databases of `server`, for the first of its callers."""
    started = await stack.enter_async_context(
        process("benchmarks.contenders.portico_callers", server.environment, "serve")
    )
    served = await answer(started)
    return Server(started.pid, served["port"], server.environment, server.requests[:callers])


async def _by_hand(servers: Servers, stack: AsyncExitStack) -> Server:
    environment = {"PORTICO_REDIS_URL": servers.redis_database(14)}
    started = await stack.enter_async_context(
        process("benchmarks.contenders.refresh_by_hand", environment)
    )
    served = await answer(started)
    tokens = [f"{number:032}" for number in range(_CONNECTIONS)]
    return Server(started.pid, served["port"], environment, (), tokens)


def _lines(file: Path) -> Iterator[str]:
    return map(json.loads, file.read_text().splitlines())


async def _warm_up(server: Server) -> None:
    """Let every caller be known to the caches; a few at a time, for the first time costs a read of PostgreSQL."""
    async with Connections(server.port, 8) as connections:
        await connections.share(len(server.requests), lambda _: next(server.circle))


async def _guarded(server: Server) -> list[float]:
    """Return the microseconds of CPU per request, of each slice.

    In a circle that is too large for the memory of the process each is of a caller who is not in it.
    """
    async with Connections(server.port) as connections:
        return [
            await _slice(server, _REQUESTS // _SLICES, connections, lambda _: next(server.circle))
            for _ in range(_SLICES)
        ]


async def _refresh(server: Server) -> list[float]:
    """Return the microseconds of CPU per refresh, of each slice; each caller shows the token that they got last."""
    tokens = dict(enumerate(server.refresh_tokens[:_CONNECTIONS]))

    def request(connection: int) -> bytes:
        return (
            "POST /api/v1/auth/token/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench/1\r\n"
            f"Content-Length: 0\r\nX-Refresh-Token: {tokens[connection]}\r\n\r\n"
        ).encode()

    def keep(connection: int, body: bytes) -> None:
        given = json.loads(body)
        if "data" in given:
            tokens[connection] = given["data"]["refreshToken"]

    async with Connections(server.port) as connections:
        costs = [
            await _slice(server, _REFRESHES // _SLICES, connections, request, keep)
            for _ in range(_SLICES)
        ]
    server.refresh_tokens[:_CONNECTIONS] = tokens.values()
    return costs


async def _slice(
    server: Server,
    total: int,
    connections: Connections,
    request: Callable[[int], bytes],
    answered: Callable[[int, bytes], None] = lambda _connection, _body: None,
) -> float:
    before = cpu_seconds(server.pid)
    await connections.share(total, request, answered)
    return (cpu_seconds(server.pid) - before) / total * 1e6


async def _asked_of_servers(server: Server) -> tuple[float, float]:
    """Return the SQL statements (at least) and the round trips to Redis per request, as the servers know them."""
    requests = 200
    database = await asyncpg.connect(server.environment["PORTICO_POSTGRES_URL"])
    redis = Redis.from_url(server.environment["PORTICO_REDIS_URL"])

    async def round_trips() -> int:
        return int((await redis.info("stats"))["total_reads_processed"])

    try:
        began = await database.fetchval("SELECT clock_timestamp()")
        before = await round_trips()
        async with Connections(server.port, 1) as connections:
            await connections.share(requests, lambda _: server.requests[0])
        asked = await round_trips() - before - 1  # to count is one, too
        statements = await database.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query_start > $1",
            began,
        )
    finally:
        await redis.aclose()
        await database.close()
    return statements / requests, asked / requests
