"""TLS for a server that cannot speak it: the Valkey of the tests is built without."""

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.support.certificates import Certified

_HANDSHAKE = b"\x16"
"""What TLS begins with (RFC 8446 §5.1)."""


class TlsRelay:
    """Ends the TLS of clients that begin with it, and lets all others through: servers among themselves."""

    def __init__(self, behind: int, certified: Certified) -> None:
        self.encrypted = 0
        """How many connections began with TLS."""
        self._behind = behind
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certified.certificate, certified.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)  # noqa: FBT003 - the library's own
        self.port: int = self._listener.getsockname()[1]
        self._tasks = set[asyncio.Task[None]]()

    async def __aenter__(self) -> Self:
        self._start(self._accept())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            accepted, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            self._start(self._forward(accepted))

    async def _forward(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        with accepted, suppress(OSError):
            is_encrypted = await _first_byte(accepted) == _HANDSHAKE
            self.encrypted += is_encrypted
            context = self._context if is_encrypted else None
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=context
            )
            near = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                there, far = await asyncio.open_connection("127.0.0.1", self._behind)
                try:
                    await asyncio.gather(_pump(reader, far), _pump(there, near))
                finally:
                    far.close()
            finally:
                transport.abort()


async def _first_byte(accepted: socket.socket) -> bytes:
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(accepted, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(accepted)
    return accepted.recv(1, socket.MSG_PEEK)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while read := await reader.read(65_536):
            writer.write(read)
            await writer.drain()
    writer.close()
