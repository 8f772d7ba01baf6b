"""Sends HTTP requests over some connections as fast as they are answered, from a process of its own.

The order is one line of JSON on standard input, the result one on standard output, so one process serves all rounds.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import uvloop


class Connection(asyncio.Protocol):
    """Sends its request again and again, one at a time, for as long as the load wants more."""

    def __init__(self, load: "Load", request: bytes) -> None:
        self._load = load
        self._request = request
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self._received = b""
        self._load.answered(head)
        self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        self._load.closed()

    def _send(self) -> None:
        if self._load.wants_more():
            self._transport.write(self._request)
        else:
            self._transport.close()


class Load:
    """Some thousand requests, and what was answered."""

    def __init__(self, requests: int, connections: int) -> None:
        self._left = requests
        self._open = connections
        self.successes = 0
        self.failures: list[str] = []
        self.done = asyncio.Event()

    def wants_more(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def answered(self, head: bytes) -> None:
        if head.startswith(b"HTTP/1.1 2"):
            self.successes += 1
        else:
            self.failures.append(head.decode("latin-1"))

    def closed(self) -> None:
        self._open -= 1
        if not self._open:
            self.done.set()


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


async def _run(port: int, heads: Sequence[str], requests: int, connections: int) -> dict[str, Any]:
    load = Load(requests, connections)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    for _, head in zip(range(connections), cycle(heads), strict=False):
        await loop.create_connection(lambda h=head: Connection(load, h.encode()), "127.0.0.1", port)  # type: ignore[misc]
    async with asyncio.timeout(60):
        await load.done.wait()
    return {
        "seconds": time.perf_counter() - started,
        "successes": load.successes,
        "failures": load.failures[:1],
    }


def main() -> None:
    """Carry out one order after the other until the input ends."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            print(json.dumps(runner.run(_run(**json.loads(line)))), flush=True)  # noqa: T201 - the result


if __name__ == "__main__":
    main()
