"""Connections that send HTTP requests as fast as they are answered."""

import asyncio
from collections.abc import Callable
from typing import Self


class Connections:
    """Connections that send requests as fast as they are answered."""

    def __init__(self, port: int, count: int = 64) -> None:
        self._port = port
        self._count = count
        self._streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        self._streams = [
            await asyncio.open_connection("127.0.0.1", self._port) for _ in range(self._count)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            stream[1].close()

    async def share(
        self,
        total: int,
        request: Callable[[int], bytes],
        answered: Callable[[int, bytes], None] = lambda _connection, _body: None,
    ) -> None:
        """Send `total` requests; raise `RuntimeError` at an answer that is no success."""
        left = iter(range(total))

        async def send(number: int) -> None:
            reader, writer = self._streams[number]
            for _ in left:
                writer.write(request(number))
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                if not head.startswith(b"HTTP/1.1 2"):
                    raise RuntimeError(f"not every answer is a success: {head!r} {body!r}")
                answered(number, body)

        await asyncio.gather(*(send(number) for number in range(self._count)))
