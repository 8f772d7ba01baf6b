"""A chat over API processes that are killed: nothing is lost, nothing comes twice, and all of it in order.

The clients are those of docs/realtime.md, behind a balancer. `python -m tests.e2e.chat` is the long form: 10,000
messages, 20 kills.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from local_stack.servers import choose_ports
from tests.e2e.command import Started, portico, starting
from tests.e2e.fleet import ADMINISTRATOR, answers, log_in, made, variables_of
from tests.support.plain_http import NO_TLS
from tests.support.processes import kill_all
from tests.support.readme import ROOT, documented
from tests.support.servers import Servers, ServersOfTheRun

PROCESSES = 2
CLIENTS = 4
FRESH = 300.0
"""Seconds for which an access token is used."""


@dataclass(slots=True)
class Process:
    """An API process on a port that stays the same, however often it is killed."""

    port: int
    directory: Path
    variables: Mapping[str, str]
    stack: ExitStack = field(default_factory=ExitStack)
    started: Started | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Started:
        """Start it; it does not answer yet."""
        self.directory.mkdir(exist_ok=True)
        self.started = self.stack.enter_context(
            starting("api", "--port", str(self.port), directory=self.directory, **self.variables)
        )
        return self.started

    def kill(self) -> None:
        """End it as a crash does."""
        assert self.started is not None
        kill_all(self.started.family())
        self.stack.close()

    async def wait_until_ready(self) -> None:
        """Return once it answers."""
        assert self.started is not None
        while not await asyncio.to_thread(answers, self.url):
            assert self.started.process.poll() is None, self.started.said()
            await asyncio.sleep(0.05)


@asynccontextmanager
async def balancer(processes: Sequence[Process]) -> AsyncIterator[str]:
    """Forward each connection to one process after the other, or to one that accepts it; yield the address."""
    turn = 0
    forwarding = set[asyncio.Task[None]]()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        turn += 1
        for process in [*processes[turn % len(processes) :], *processes]:
            with suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", process.port)
                break
        else:
            writer.close()
            return
        try:
            await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
        finally:
            for end in (writer, there[1]):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(forward(reader, writer))
        forwarding.add(task)
        task.add_done_callback(forwarding.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in forwarding:
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while read := await reader.read(65_536):
            writer.write(read)
            await writer.drain()
    writer.close()


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    sent: dict[int, str]
    """The texts by their numbers, as the acks say."""
    read: list[list[tuple[int, str]]]
    """What each client read."""
    live: list[list[int]]
    """The numbers that came as `chat.receive`, for each connection of a client."""
    seconds: float


async def chat(
    servers: Servers, directory: Path, *, messages: int, kills: int, worker: int
) -> Outcome:
    """Send messages while processes are killed in between, one at a time."""
    variables = await asyncio.to_thread(variables_of, servers, worker)
    ports = choose_ports(tuple(f"api-{n}" for n in range(PROCESSES)), {})
    processes = [Process(port, directory / name, variables) for name, port in ports.items()]
    try:
        for process in processes:
            process.start()
        created = await asyncio.to_thread(
            lambda: portico("create-admin", directory=directory, **variables)
        )
        assert created.returncode == 0, created.stderr
        await asyncio.gather(*(process.wait_until_ready() for process in processes))
        async with balancer(processes) as address:
            return await _chat(address, processes, messages=messages, kills=kills)
    finally:
        for process in processes:
            process.stack.close()


async def _chat(
    address: str, processes: Sequence[Process], *, messages: int, kills: int
) -> Outcome:
    caller = Caller(address)
    room = await caller.make_room()
    make = documented(ROOT / "docs" / "realtime.md", "chat_client.py")["Room"]
    rooms = [make(address, room, caller.token) for _ in range(CLIENTS)]
    live = [_listen(each) for each in rooms]
    running = [asyncio.create_task(each.run()) for each in rooms]
    sent: dict[int, str] = {}

    async def send(number: int) -> None:
        for n in range(number, messages, CLIENTS):
            message = await rooms[number].send(f"message {n}")
            assert message["seq"] not in sent
            sent[message["seq"]] = message["text"]

    started = time.monotonic()
    killing = asyncio.create_task(_kill(processes, kills, lambda: len(sent) / messages))
    await asyncio.gather(*(send(number) for number in range(CLIENTS)))
    seconds = time.monotonic() - started
    killing.cancel()
    async with asyncio.timeout(60):
        while any(each.last < messages for each in rooms):  # noqa: ASYNC110 - numbers grow
            await asyncio.sleep(0.02)
    for task in running:
        task.cancel()
    await asyncio.gather(killing, *running, return_exceptions=True)
    return Outcome(sent, [*map(_taken, rooms)], [each for one in live for each in one], seconds)


async def _kill(processes: Sequence[Process], kills: int, progress: Callable[[], float]) -> None:
    """Kill one process after the other, while the others go on, and start it again."""
    for n in range(kills):
        while progress() < (n + 1) / (kills + 1):  # noqa: ASYNC110 - a number grows
            await asyncio.sleep(0.02)
        process = processes[n % len(processes)]
        await asyncio.to_thread(process.kill)
        process.start()
        await process.wait_until_ready()


def _taken(room: Any) -> list[tuple[int, str]]:
    messages = [room.messages.get_nowait() for _ in range(room.messages.qsize())]
    return [(message["seq"], message["text"]) for message in messages]


class Caller:
    """An administrator, who logs in again before a token expires."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._token = ""
        self._since = 0.0

    async def token(self) -> str:
        """Return an access token."""
        while not self._token or time.monotonic() - self._since > FRESH:
            with suppress(httpx.TransportError):  # killed in this moment
                async with self._http() as http:
                    headers = await log_in(http, ADMINISTRATOR)
                self._token = headers["Authorization"].removeprefix("Bearer ")
                self._since = time.monotonic()
        return self._token

    async def make_room(self) -> str:
        """Return the id of a new room."""
        headers = {"Authorization": f"Bearer {await self.token()}"}
        async with self._http() as http:
            answer = await http.post("/api/v1/rooms", json={"name": "Chaos"}, headers=headers)
        return str((await made(answer))["id"])

    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self._address, verify=NO_TLS, timeout=30)


def _listen(room: Any) -> list[list[int]]:
    """Return the numbers that come live, a list for each connection."""
    connections: list[list[int]] = [[]]

    async def connect() -> None:
        connections.append([])

    async def receive(message: dict[str, Any]) -> None:
        connections[-1].append(message["seq"])
        await room._receive(message)

    room._client.on("connect", connect)
    room._client.on("chat.receive", receive)
    return connections


def check(outcome: Outcome, *, messages: int) -> None:
    """Raise `AssertionError` if anything was lost, doubled or out of order."""
    expected = [(seq, outcome.sent[seq]) for seq in range(1, messages + 1)]
    assert sorted(text for _, text in expected) == sorted(f"message {n}" for n in range(messages))
    for read in outcome.read:
        assert read == expected
    for numbers in outcome.live:
        assert numbers == sorted(
            set(numbers)
        )  # once each and in order, even before the client looks


def main() -> None:
    """Chat for long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    servers = ServersOfTheRun()
    try:
        with tempfile.TemporaryDirectory() as directory:
            outcome = asyncio.run(
                chat(
                    servers.get(),
                    Path(directory),
                    messages=given.messages,
                    kills=given.kills,
                    worker=0,
                )
            )
        check(outcome, messages=given.messages)
    finally:
        servers.close()
    live = sum(map(len, outcome.live)) / (CLIENTS * given.messages)
    sys.stdout.write(
        f"{given.messages} messages, {given.kills} kills, {CLIENTS} clients: nothing lost, nothing twice, in order\n"
        f"{given.messages / outcome.seconds:.0f} messages a second; {live:.1%} came live, the rest from the history\n"
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
