"""Row 5: what an event with an ack costs a Socket.IO server, with injection and without."""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.processes import undisturbed
from benchmarks.report import Figure
from benchmarks.servers import Servers

_KINDS = ("injected", "untouched", "by_hand", "nothing")
_EVENTS = 2_000
"""In one round, all clients together."""
_SHORT_ROUNDS = 2
"""For each round that was asked for."""
_MESSAGE = '["send",{"text":"hello","room":"lobby","number":7}]'


@dataclass(slots=True)
class _Found:
    cpu: list[float] = field(default_factory=list)
    """Seconds for an event."""
    rate: list[float] = field(default_factory=list)
    """Events a second."""


async def measure(_servers: Servers, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Return the figures, for one client and for a hundred; the first round warms up and does not count."""
    figures: list[Figure] = []
    for clients in (1, 100):
        say(f"socket: events with acks of {clients} client(s)")
        found = await _measured(clients, rounds)
        cpu = {kind: undisturbed(each.cpu) * 1e6 for kind, each in found.items()}
        rate = {kind: statistics.median(each.rate) for kind, each in found.items()}
        of = f"{clients} client{'s' if clients > 1 else ''}"
        for kind, reference, most in (
            ("injected", "by_hand", 1.10),
            ("injected", "nothing", 1.15),
            ("untouched", "nothing", 1.00),
        ):
            figures.append(
                Figure(
                    row=5,
                    what=f"CPU of an event, {kind}, {of}",
                    unit="µs",
                    ours=cpu[kind],
                    reference=cpu[reference],
                    reference_name=f"python-socketio, {reference.replace('_', ' ')}",
                    ratio_target=round(1 / most, 2),
                )
            )
        figures.append(
            Figure(
                row=5,
                what=f"events a second, injected, {of}",
                unit="/s",
                ours=rate["injected"],
                reference=rate["nothing"],
                reference_name="python-socketio, nothing",
                ratio_target=0.90,
                more_is_better=True,
            )
        )
    return figures


async def _measured(clients: int, rounds: int) -> dict[str, _Found]:
    found = {kind: _Found() for kind in _KINDS}
    async with AsyncExitStack() as stack:
        servers = {kind: await stack.enter_async_context(_server(kind)) for kind in _KINDS}
        for number in range(rounds * _SHORT_ROUNDS + 1):
            for kind in random.sample(_KINDS, len(_KINDS)):
                cpu, rate = await _round(servers[kind], clients)
                if number:
                    found[kind].cpu.append(cpu)
                    found[kind].rate.append(rate)
    return found


async def _round(server: asyncio.subprocess.Process, clients: int) -> tuple[float, float]:
    port = await _ask(server, "port")
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(_client(int(port))) for _ in range(clients)]
        before, started = await _ask(server), time.perf_counter()
        await asyncio.gather(*(_send(each, _EVENTS // clients) for each in connections))
        seconds, after = time.perf_counter() - started, await _ask(server)
    return (after - before) / _EVENTS, _EVENTS / seconds


async def _send(connection: ClientConnection, events: int) -> None:
    for number in range(events):
        await connection.send(f"42{number}{_MESSAGE}")
        while not str(await connection.recv()).startswith("43"):
            pass  # a ping


async def _ask(server: asyncio.subprocess.Process, what: str = "cpu") -> float:
    if server.stdin is None or server.stdout is None:
        raise RuntimeError("the server was started without pipes")
    server.stdin.write(f"{what}\n".encode())
    return float(await server.stdout.readline())


@asynccontextmanager
async def _client(port: int) -> AsyncIterator[ClientConnection]:
    address = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
    async with connect(address, compression=None, ping_interval=None) as connection:
        await connection.recv()
        await connection.send("40")
        await connection.recv()
        yield connection


@asynccontextmanager
async def _server(kind: str) -> AsyncIterator[asyncio.subprocess.Process]:
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.contenders.socket_server", kind),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield server
    finally:
        server.terminate()
        await server.wait()
