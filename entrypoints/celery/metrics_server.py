"""A small HTTP server on the event loop of a worker or a beat: it answers scrapes, and nothing else."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from application.settings import MetricsSettings
from entrypoints.metrics_page import CONTENT_TYPE, MetricsPage, may_scrape

_LONGEST_HEAD = 8192
"""Bytes."""
_WITHIN = 10.0
"""Seconds that a scrape may take, from its connection to its last byte."""


def listen(settings: MetricsSettings) -> socket.socket:
    """Listen on the port of the settings; raise `OSError` if it is taken."""
    host = settings.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, settings.port or 0), family=family)
    # A process of a pool that outlives its worker must not keep the port.
    os.register_at_fork(after_in_child=listener.close)
    return listener


@asynccontextmanager
async def serving(
    listener: socket.socket, settings: MetricsSettings, page: MetricsPage
) -> AsyncIterator[None]:
    """Answer scrapes while the block runs."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_WITHIN):
                head = await reader.readuntil(b"\r\n\r\n")
                address: str = writer.get_extra_info("peername")[0]
                writer.write(await _response(head, address, settings, page))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # it does not speak HTTP, or has left
        finally:
            writer.close()

    server = await asyncio.start_server(answer, sock=listener, limit=_LONGEST_HEAD)
    async with server:
        yield


async def _response(
    head: bytes, address: str, settings: MetricsSettings, page: MetricsPage
) -> bytes:
    request, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = request.partition(" ")
    if rest.partition(" ")[0].partition("?")[0] != "/metrics":
        return _written("404 Not Found")
    if method != "GET":
        return _written("405 Method Not Allowed")
    if not may_scrape(settings, address, _headers(lines)):
        return _written("403 Forbidden")
    return _written("200 OK", await page())


def _headers(lines: list[str]) -> Mapping[bytes, bytes]:
    fields = [line.partition(":") for line in reversed(lines)]
    return {
        name.strip().lower().encode("latin-1"): value.strip().encode("latin-1")
        for name, colon, value in fields
        if colon
    }


def _written(status: str, body: bytes = b"") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
