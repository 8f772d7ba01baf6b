"""A Socket.IO server on a real socket, and clients of both kinds: python-socketio's, and one that keeps no protocol."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import socketio
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from entrypoints.socketio.server import AsyncServer


@asynccontextmanager
async def serving(sio: AsyncServer, **options: Any) -> AsyncIterator[str]:
    """Serve `sio` over uvicorn; yield its address, `http://127.0.0.1:PORT`."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        **(
            {
                "app": socketio.ASGIApp(sio),
                "log_config": None,
                "lifespan": "off",
                "timeout_graceful_shutdown": 1,
            }
            | options
        ),
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await sio.shutdown()
        await task


@asynccontextmanager
async def connected(
    url: str, *, namespaces: list[str] | None = None, **options: Any
) -> AsyncIterator[socketio.AsyncClient]:
    """Connect a client by WebSocket; it does not come back by itself."""
    client = socketio.AsyncClient(reconnection=False)
    await client.connect(
        url, namespaces=namespaces, **({"transports": ["websocket"], "wait_timeout": 5} | options)
    )
    try:
        yield client
    finally:
        await client.disconnect()


class Received:
    """The events that a client got, in order."""

    def __init__(self, client: socketio.AsyncClient, event: str, namespace: str = "/") -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        client.on(event, self._queue.put, namespace=namespace)

    async def next(self) -> Any:
        async with asyncio.timeout(5):
            return await self._queue.get()

    def is_empty(self) -> bool:
        return self._queue.empty()


class RawClient:
    """Sends what a test says, and answers nothing by itself."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, *frames: str | bytes) -> None:
        for frame in frames:
            await self.connection.send(frame)

    async def next(self) -> str | bytes:
        async with asyncio.timeout(5):
            return await self.connection.recv()

    async def event(self) -> Any:
        """Return the name and the data of the next event."""
        frame = await self.next()
        assert isinstance(frame, str)
        assert frame.startswith("42"), frame
        return json.loads(frame[2:])

    async def closed(self, seconds: float = 5) -> None:
        """Wait until the server has closed the connection, and throw away what it sent before."""
        async with asyncio.timeout(seconds):
            async for _ in self.connection:
                pass


@asynccontextmanager
async def raw(
    url: str, *, join: bool = True, receive_buffer: int | None = None
) -> AsyncIterator[RawClient]:
    """Connect by WebSocket alone; join the default namespace unless `join` is false.

    `receive_buffer` is how many bytes the machine takes for a client that does not read.
    """
    address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    host, _, port = url.removeprefix("http://").partition(":")
    connection_socket = socket.socket()
    if receive_buffer is not None:
        connection_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection_socket.connect((host, int(port)))
    async with connect(address, close_timeout=1, sock=connection_socket) as connection:
        client = RawClient(connection)
        opened = await client.next()
        assert str(opened).startswith("0{")
        if join:
            await client.send("40")
            assert str(await client.next()).startswith("40{")
        yield client
