"""Two thousand connections to one API process: what each costs, a broadcast to all, and clients that do not read.

`python -m tests.e2e.crowd`, or `make crowd`, prints the figures.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from application.ports.access_versions import DIRTY_TTL
from local_stack.servers import choose_ports
from tests.e2e.chat import Caller, Process
from tests.e2e.command import portico
from tests.e2e.fleet import made, variables_of
from tests.support.servers import Servers, ServersOfTheRun
from tests.support.sockets import RawClient, raw
from tests.support.waiting import until

SLOW = 20
BROADCASTS = 10
WARM_UP = 50
LONG = "\N{FOX FACE}" * 4000
"""48 KB of JSON."""
LONG_ONES = 300
"""More than the machine and the server together keep for a client that does not read."""

# Asks again and again for a route that does nothing, in a process of its own: the slowest answer is how long the event
# loop of the API was held up.
LAG = """
import http.client, sys, threading, time
connection, slowest = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1])), 0.0
print("ready", flush=True)
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
while not stop.is_set():
    began = time.perf_counter()
    connection.request("GET", "/livez")
    connection.getresponse().read()
    slowest = max(slowest, time.perf_counter() - began)
    time.sleep(0.002)
print(slowest)
"""


class Lag:
    """How long the event loop of a server is held up while the block runs."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.seconds = 0.0

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LAG, str(self._port)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        await self._process.stdout.readline()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        written, _ = await self._process.communicate(b"")
        self.seconds = float(written)


class Member:
    """A client in a room, which reads what comes."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.numbers: list[int] = []
        self.at = 0.0
        """When the last message came."""
        self._acks: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    async def call(self, number: int, event: str, data: object) -> Any:
        """Send an event, and return its ack."""
        self._acks[number] = asyncio.get_running_loop().create_future()
        await self.client.send(f"42{number}{json.dumps([event, data])}")
        return await self._acks[number]

    async def stop(self) -> None:
        """Read no more."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        async for frame in self.client.connection:
            text = str(frame)
            if text == "2":
                await self.client.send("3")
            elif text.startswith('42["chat.receive"'):
                self.at = time.perf_counter()
                self.numbers.append(json.loads(text[2:])[1]["seq"])
            elif text.startswith("43"):
                number, _, data = text[2:].partition("[")
                self._acks.pop(int(number)).set_result(json.loads(f"[{data}"))


class Crowd:
    """Members that connect in groups."""

    def __init__(self, url: str, token: str, stack: AsyncExitStack) -> None:
        self._url = url
        self._token = token
        self._stack = stack

    async def join(
        self, room: str, count: int, *, receive_buffer: int | None = None
    ) -> list[Member]:
        """Connect so many, and join a room with each."""
        members: list[Member] = []
        while len(members) < count:
            group = (self._join(room, receive_buffer) for _ in range(min(20, count - len(members))))
            members += await asyncio.gather(*group)
        return members

    async def _join(self, room: str, receive_buffer: int | None) -> Member:
        client = await self._stack.enter_async_context(
            raw(self._url, join=False, receive_buffer=receive_buffer)
        )
        await client.send(f"40{json.dumps({'token': self._token})}")
        assert str(await client.next()).startswith("40{")
        member = Member(client)
        self._stack.push_async_callback(member.stop)
        (answer,) = await member.call(0, "room.join", {"room": room})
        assert "error" not in answer, answer
        return member


async def received(members: Sequence[Member], count: int) -> None:
    """Return once each has got so many messages."""
    async with asyncio.timeout(120):
        while any(len(member.numbers) < count for member in members):  # noqa: ASYNC110 - numbers grow
            await asyncio.sleep(0.005)


async def broadcast(members: Sequence[Member], room: str, text: str, *, number: int) -> float:
    """Send a message; return the seconds until the last one has it."""
    began, before = time.perf_counter(), len(members[0].numbers)
    (answer,) = await members[0].call(number, "chat.send", {"room": room, "text": text})
    assert "error" not in answer, answer
    await received(members, before + 1)
    return max(member.at for member in members) - began


async def measure(servers: Servers, directory: Path, connections: int) -> dict[str, str]:
    """Return the figures."""
    variables = await asyncio.to_thread(
        lambda: variables_of(servers, 0, PORTICO_CONNECTIONS_PER_USER="100000")
    )
    process = Process(choose_ports(("api",), {})["api"], directory / "api", variables)
    process.start()
    try:
        created = await asyncio.to_thread(
            lambda: portico("create-admin", directory=directory, **variables)
        )
        assert created.returncode == 0, created.stderr
        await process.wait_until_ready()
        async with AsyncExitStack() as stack:
            return await _measure(process, connections, stack)
    finally:
        process.stack.close()


async def _measure(process: Process, connections: int, stack: AsyncExitStack) -> dict[str, str]:
    assert process.started is not None
    server = psutil.Process(process.started.process.pid)
    caller = Caller(process.url)
    crowd = Crowd(process.url, await caller.token(), stack)
    lobby, other = await caller.make_room(), await caller.make_room()
    members = await crowd.join(lobby, WARM_UP)
    before = server.memory_info().rss
    began = time.perf_counter()
    members += await crowd.join(lobby, connections)
    connecting = time.perf_counter() - began
    memory = (server.memory_info().rss - before) / connections

    # With a new Redis all users count as changed for this long, and are checked one by one.
    await asyncio.sleep(DIRTY_TTL.total_seconds())
    cpu = sum(server.cpu_times()[:2])
    await asyncio.sleep(10)
    idle = (sum(server.cpu_times()[:2]) - cpu) / 10

    cpu, times = sum(server.cpu_times()[:2]), []
    async with Lag(process.port) as lag:
        for number in range(BROADCASTS):
            times.append(await broadcast(members, lobby, "Hello", number=number))
            await asyncio.sleep(0.2)
    spent = (sum(server.cpu_times()[:2]) - cpu) / BROADCASTS
    assert all(member.numbers == [*range(1, BROADCASTS + 1)] for member in members)

    fast = await crowd.join(other, SLOW)
    slow = await crowd.join(other, SLOW, receive_buffer=4096)
    for member in slow:
        await member.stop()
    memory_before = server.memory_info().rss
    for number in range(LONG_ONES):
        await broadcast(fast, other, LONG, number=number + 1)
    unsent = server.memory_info().rss - memory_before
    assert all(member.numbers == [*range(1, LONG_ONES + 1)] for member in fast)
    await until(lambda: _are_connected(process.url, caller, len(members) + SLOW), within=60)
    return {
        "connections": f"{len(members)}, {connections / connecting:.0f} a second",
        "memory of each": f"{memory / 1024:.1f} KiB",
        "CPU while idle": f"{idle:.1%} of a core",
        "a broadcast to all": f"{sorted(times)[len(times) // 2] * 1000:.0f} ms, the slowest {max(times) * 1000:.0f} ms",
        "CPU of a broadcast": f"{spent * 1000:.0f} ms, {spent / len(members) * 1e6:.0f} µs for each",
        "longest hold of the event loop": f"{lag.seconds * 1000:.0f} ms",
        "slow readers": f"{SLOW} of {SLOW} dropped, {SLOW} others got all; memory grew by {unsent / 2**20:.0f} MiB",
    }


async def _are_connected(url: str, caller: Caller, count: int) -> bool:
    """Return whether there are so many connections, as an operator sees them."""
    token = await caller.token()
    found = 0
    cursor: dict[str, str] = {}
    async with httpx.AsyncClient(
        base_url=url, timeout=30, headers={"Authorization": f"Bearer {token}"}
    ) as http:
        while True:
            answer = await http.get(
                "/api/v1/realtime/connections", params={"pageSize": 100, **cursor}
            )
            data = await made(answer)
            found += len(data["records"])
            if data["nextCursor"] is None:
                return found == count
            cursor = {"cursor": data["nextCursor"]}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=2000)
    given = parser.parse_args()
    servers = ServersOfTheRun()
    try:
        with tempfile.TemporaryDirectory() as directory:
            figures = asyncio.run(measure(servers.get(), Path(directory), given.connections))
    finally:
        servers.close()
    for name, figure in figures.items():
        sys.stdout.write(f"{name:32} {figure}\n")


if __name__ == "__main__":
    main()
