"""A client without a network, for tests of handlers."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from engineio.packet import MESSAGE
from socketio import packet

from entrypoints.socketio.engine import Socket
from entrypoints.socketio.packets import StrictPacket
from entrypoints.socketio.server import AsyncServer


class ConnectionRefused(Exception):
    """The server did not let the client join; `data` is what `connect_error` carries."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.data = data


class SocketTestClient:
    """One client of a server in the same event loop. Packets are encoded and decoded, but go over no socket.

        async with SocketTestClient(sio, auth={"token": "…"}) as client:
            assert await client.call("chat.send", {"text": "hi", "room": "r"}) == {"at": …}
            assert await client.receive("chat.receive") == {"user": "ada", "text": "hi"}

    `dependency_overrides` are in force while the client is connected.
    """

    def __init__(
        self,
        sio: AsyncServer,
        *,
        namespace: str = "/",
        auth: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        dependency_overrides: Mapping[Callable[..., Any], Callable[..., Any]] | None = None,
        timeout: float = 2.0,
    ) -> None:
        """Every wait ends after `timeout` seconds with `TimeoutError`."""
        self.sio = sio
        self.namespace = namespace
        self.auth = dict(auth) if auth is not None else None
        self.sid: str = ""
        """What the server calls the client; empty until it is connected."""
        self.answers: dict[str, Any] = {}
        """What the client acknowledges events with that ask for it, by event; nothing by default."""
        self.is_connected = False
        self._overrides = dict(dependency_overrides or {})
        self._overridden: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._timeout = timeout
        self._socket = Socket(sio.eio, sio.eio.generate_id())
        self._environ = _environ(headers or {})
        self._received: dict[str, asyncio.Queue[Any]] = {}
        self._acks: dict[int, asyncio.Future[Any]] = {}
        self._joined: asyncio.Future[dict[str, Any]] | None = None
        self._left = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect; raise `ConnectionRefused`."""
        self._overridden = dict(self.sio.dependency_overrides)
        self.sio.dependency_overrides.update(self._overrides)
        try:
            await self._join()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect as a client that closes its connection; disconnect handlers have run when it returns."""
        await self._socket.close(wait=False, abort=True, reason=self.sio.reason.TRANSPORT_CLOSE)
        self.sio.eio.sockets.pop(self._socket.sid, None)
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        self.sio.dependency_overrides.clear()
        self.sio.dependency_overrides.update(self._overridden)

    async def emit(self, event: str, *arguments: Any) -> None:
        """Send an event and do not ask for an ack."""
        await self._send(packet.EVENT, [event, *arguments])

    async def call(self, event: str, *arguments: Any) -> Any:
        """Send an event and return its ack: None, a value, or a tuple of several."""
        number = len(self._acks) + 1
        ack = self._acks[number] = asyncio.get_running_loop().create_future()
        await self._send(packet.EVENT, [event, *arguments], number)
        async with asyncio.timeout(self._timeout):
            values = await ack
        return tuple(values) if len(values) > 1 else next(iter(values), None)

    async def receive(self, event: str) -> Any:
        """Return the data of the next event of that name: None, a value, or a tuple of several."""
        async with asyncio.timeout(self._timeout):
            values = await self._events(event).get()
        return tuple(values) if len(values) > 1 else next(iter(values), None)

    def has_received(self, event: str) -> bool:
        """Return whether an event of that name waits to be received."""
        return not self._events(event).empty()

    async def wait_disconnected(self) -> None:
        """Wait until the server makes the client leave."""
        async with asyncio.timeout(self._timeout):
            await self._left.wait()

    async def _join(self) -> None:
        self._joined = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())
        self.sio.eio.sockets[self._socket.sid] = self._socket
        await self.sio.eio.handlers["connect"](self._socket.sid, self._environ)
        await self._send(packet.CONNECT, self.auth)
        async with asyncio.timeout(self._timeout):
            self.sid = (await self._joined)["sid"]
        self.is_connected = True

    async def _send(self, kind: int, data: Any, number: int | None = None) -> None:
        sent = StrictPacket(kind, data=data, namespace=self.namespace, id=number)
        encoded = sent.encode()
        for frame in encoded if isinstance(encoded, list) else [encoded]:
            await self.sio.eio.handlers["message"](self._socket.sid, frame)

    async def _read(self) -> None:
        pending: StrictPacket | None = None
        while (received := await self._socket.queue.get()) is not None:
            if received.packet_type != MESSAGE:
                continue
            if pending is None:
                pending = StrictPacket(encoded_packet=received.data)
                is_whole = not pending.attachment_count
            else:
                is_whole = pending.add_attachment(received.data)
            if is_whole:
                await self._take(pending)
                pending = None
        self._leave()

    async def _take(self, received: StrictPacket) -> None:
        data: Any = received.data
        match received.packet_type:
            case packet.CONNECT if self._joined:
                self._joined.set_result(data)
            case packet.CONNECT_ERROR if self._joined:
                self._joined.set_exception(ConnectionRefused(data))
            case packet.DISCONNECT:
                self._leave()
            case packet.ACK | packet.BINARY_ACK:
                self._acks[received.id].set_result(data)
            case _:
                event, *arguments = data
                self._events(event).put_nowait(arguments)
                if received.id is not None:
                    await self._send(packet.ACK, [self.answers.get(event)], received.id)

    def _leave(self) -> None:
        self.is_connected = False
        self._left.set()

    def _events(self, event: str) -> asyncio.Queue[Any]:
        return self._received.setdefault(event, asyncio.Queue())


def _environ(headers: Mapping[str, str]) -> dict[str, Any]:
    scope = {
        "type": "websocket",
        "path": "/socket.io/",
        "query_string": b"EIO=4&transport=websocket",
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in headers.items()
        ],
        "client": ("127.0.0.1", 1),
        "scheme": "ws",
    }
    environ: dict[str, Any] = {
        f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()
    }
    return environ | {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": scope["path"],
        "QUERY_STRING": "EIO=4&transport=websocket",
        "asgi.scope": scope,
    }
