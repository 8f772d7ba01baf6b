"""A network that a test can break: a TCP link to a server."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Link:
    """Passes on what both ends say. Frozen, it takes everything and delivers nothing, without an error."""

    host: str
    port: int
    questions: int = 0
    """How often clients spoke: the round trips, in protocols that await each answer."""
    _passable: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)
    _transports: set[asyncio.WriteTransport] = field(default_factory=set)
    _listening: asyncio.Server | None = None
    _port: int = 0

    def url(self, url: str) -> str:
        """Return the URL of the server as it is reached through this link."""
        assert self._listening is not None
        port = self._listening.sockets[0].getsockname()[1]
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{port}").geturl()

    def freeze(self) -> None:
        """Deliver nothing any more."""
        self._passable.clear()

    def thaw(self) -> None:
        """Deliver what was held back, and everything from now on."""
        self._passable.set()

    def reroute(self) -> None:
        """Deliver everything on new connections; those that were frozen stay so for ever."""
        self._passable = asyncio.Event()
        self._passable.set()

    async def open(self) -> None:
        """Begin to listen."""
        self._passable.set()
        self._listening = await asyncio.start_server(self._connect, "127.0.0.1")

    async def cut(self) -> None:
        """End every connection and take no new one."""
        assert self._listening is not None
        self._port = self._listening.sockets[0].getsockname()[1]
        await self.close()

    async def mend(self) -> None:
        """Take connections again, at the same address."""
        self._listening = await asyncio.start_server(self._connect, "127.0.0.1", self._port)

    def reset(self) -> None:
        """Reset every connection (RST); new ones are taken."""
        for transport in self._transports:
            if transport.is_closing():
                continue
            raw: socket.socket = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    async def until_unused(self) -> None:
        """Wait until every client has ended its connections."""
        await asyncio.gather(*self._connections)

    async def close(self) -> None:
        """End every connection."""
        if self._listening is not None:
            self._listening.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer, self._passable))
        self._connections.add(connection)

    async def _serve(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter, passable: asyncio.Event
    ) -> None:
        async def pass_on(
            source: asyncio.StreamReader, target: asyncio.StreamWriter, *, asks: bool
        ) -> None:
            with suppress(ConnectionError):
                while said := await source.read(2**20):
                    self.questions += asks
                    await passable.wait()
                    target.write(said)
                    await target.drain()
            target.close()

        self._transports.add(to_client.transport)
        try:
            await passable.wait()
            with suppress(OSError):
                server, to_server = await asyncio.open_connection(self.host, self.port)
                try:
                    await asyncio.gather(
                        pass_on(client, to_server, asks=True),
                        pass_on(server, to_client, asks=False),
                    )
                finally:
                    to_server.close()
        finally:
            self._transports.discard(to_client.transport)
            to_client.close()


@dataclass(slots=True)
class Proxy:
    """Passes each question on to the server that is behind it at that time; its clients notice nothing of a swap."""

    port_behind: int
    port: int = 0
    swapped_connections: int = 0
    """How many connections of clients went on with another server."""

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Serve one connection of a client."""
        port, to_server, answers = 0, None, None
        try:
            while question := await client.read(2**20):
                if to_server is None or port != self.port_behind:
                    if to_server is not None and answers is not None:
                        to_server.close()
                        await answers
                        self.swapped_connections += 1
                    port = self.port_behind
                    server, to_server = await asyncio.open_connection("127.0.0.1", port)
                    answers = asyncio.create_task(self._pass_on(server, to_client))
                to_server.write(question)
        except ConnectionError:
            pass  # the server is gone, so its client is to hear of it
        finally:
            if to_server is not None and answers is not None:
                to_server.close()
                await answers
            to_client.close()

    async def _pass_on(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while answer := await server.read(2**20):
                to_client.write(answer)


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """Serve a proxy on a port of its own."""
    proxy = Proxy(port)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1") as listening:
        proxy.port = listening.sockets[0].getsockname()[1]
        yield proxy


@asynccontextmanager
async def link_to(url: str) -> AsyncIterator[Link]:
    """Lay a link to the server of `url`."""
    parts = urlsplit(url)
    link = Link(parts.hostname or "", parts.port or 0)
    await link.open()
    try:
        yield link
    finally:
        await link.close()
