"""The API over a real socket, and bytes that are sent to it as they are."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from application.settings import Settings
from entrypoints.cli.api import options


@asynccontextmanager
async def serving(app: Any, settings: Settings, **changes: Any) -> AsyncIterator[int]:
    """Serve `app` as `portico api` does, but for `changes`, and one second for an idle connection; yield the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    of_tests = {"loop": "none", "timeout_keep_alive": 1}
    server = uvicorn.Server(uvicorn.Config(app, **(options(settings) | of_tests | changes)))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield port  # a client that connects before the server has started waits in its backlog
    finally:
        server.should_exit = True
        await task


async def exchange(port: int, *sent: bytes) -> bytes:
    """Send some pieces on one connection, then read until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in sent:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def assert_problem(answer: bytes, status: int, error: str) -> None:
    """Look for all that every error response has."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    problem = json.loads(body)
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"] == b"close"
    assert headers[b"x-request-id"].decode() == problem["requestId"]
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-store"
    assert int(headers[b"content-length"]) == len(body)
    assert (problem["status"], problem["error"]) == (status, error)
