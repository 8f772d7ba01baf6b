"""How uvicorn reads requests: within bounds of time and size, and what is no request gets an answer in our form.

Every state of a connection is bounded: waiting for a head, reading a body, waiting in line behind other requests of the
same connection (pipelining), and writing an answer. No connection becomes anything but HTTP.
"""

import asyncio
import secrets
import sys
from contextlib import suppress
from fcntl import ioctl
from http import HTTPStatus
from termios import TIOCOUTQ
from typing import TYPE_CHECKING, Any

import structlog
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from entrypoints.http.errors import problem_response
from entrypoints.http.middleware import SECURITY_HEADERS
from entrypoints.http.request_context import begin_request

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.http")


class TimeoutProtocol(HttpToolsProtocol):
    """Waits for a client, but not for ever.

    A client has `patience` to send a request, from its first byte to the last of its body, and a second more for every
    `least_rate` bytes: so that whoever sends no more than a part of one (Slowloris) does not keep a connection. While
    we are the ones who do not read, its time stands still. It has as much time to read an answer.
    """

    patience = 15.0
    """Seconds."""

    least_rate = 1024
    """Bytes a second."""

    largest_head = 64 * 1024
    """Bytes, and as many more as come in one piece."""

    most_in_line = 100
    """Requests that wait until those before them on the same connection are answered. Nothing is read meanwhile; these
    come in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it too
        self.flow = _OneAfterTheOther(transport, self)  # type: ignore[arg-type]  # the same
        self.last_word: HTTPException | None = None
        """What is answered after all that was asked before, and then nothing more."""
        self._running: RequestResponseCycle | None = None
        self._unsent: tuple[float, int] | None = None
        self._gives_way = False
        self._expect_request()
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)
        # uvicorn tells only the last of those that wait in line.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        # What is around a body (sizes of chunks, their extensions, trailers) may be as much again as the body.
        if self._received - 2 * self._read > self.largest_head:
            self._refuse(
                HTTPException(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The head is too large")
                if self._is_in_head
                else HTTPException(HTTPStatus.BAD_REQUEST, "The body is too little of what is sent")
            )
        elif len(data) >= HIGH_WATER_LIMIT and not self.flow.read_paused:
            # uvloop would read this connection up to 32 times in a row: the others come first.
            self._gives_way = True
            self.flow.pause_reading()
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._gives_way = False
        self.flow.resume_reading()

    def on_message_begin(self) -> None:
        self._expect_request()
        self._has_begun = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes after the body is no header: whoever decided by the headers has not seen it.
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= self.most_in_line:
            self._refuse(
                HTTPException(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    "Too many requests wait on this connection",
                    headers={"Retry-After": "1"},
                )
            )
            raise _NotTaken
        if b"#" in self.url:
            raise _NotTaken  # a fragment is no part of a target (RFC 9112 §3.2); uvicorn would leave it out
        super().on_headers_complete()
        self._is_in_head = False
        if self.expect_100_continue:
            # If it is answered without its body, we cannot tell that body, which may never come, from a next request.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._read += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._expect_request()

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        self._restart_clock()
        if is_last and self.last_word is not None:
            self._end_with(self.last_word)
        self.flow.resume_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; uvicorn calls it."""
        self._has_begun = True
        self._refuse(HTTPException(HTTPStatus.BAD_REQUEST, msg.removesuffix(".")))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        """Tell whether another protocol takes the connection over. None does: such a request is one like any other.

        This is where Socket.IO will say yes: to a GET of its path, with a complete handshake and without a body. The
        clock of the head runs until then.
        """
        return False

    def _unsupported_upgrade_warning(self) -> None:
        # What follows may be of the other protocol, so that this request is the last; uvicorn has dropped the rest.
        self.shutdown()

    def _expect_request(self) -> None:
        self._is_in_head = True
        self._has_begun = False
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._since = self.loop.time()
        self._received = 0
        self._read = 0

    def _look_again(self) -> None:
        # One timer a connection, not one a request: nobody needs it to the second.
        self._watch = self.loop.call_later(self.patience / 4, self._look)

    def _look(self) -> None:
        if self._is_not_read():
            _log.info("answer not read in time", client=_address(self.client))
            self.transport.abort()
            return
        is_paused = self.flow.read_paused and not self._gives_way
        if is_paused or (self._is_in_head and self._is_answering()):
            self._restart_clock()
        elif self.loop.time() - self._since > self.patience + self._allowance():
            self._refuse(HTTPException(HTTPStatus.REQUEST_TIMEOUT, "The request came too slowly"))
        self._look_again()

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        return cycle is not None and not cycle.response_complete

    def _allowance(self) -> float:
        # Of a body that is answered already, what still comes is thrown away, and earns no time.
        earns = self._is_in_head or self._is_answering()
        return self._received / self.least_rate if earns else 0.0

    def _is_not_read(self) -> bool:
        """Tell whether the client has not read what we cannot go on without, in the time that its size takes."""
        # Nothing is added while either holds, so that what has gone is what the client has read.
        waits_for_client = self.flow.write_paused or self.transport.is_closing()
        left = _not_acknowledged(self.transport) if waits_for_client else 0
        if not left:
            self._unsent = None
            return False
        if self._unsent is None:
            self._unsent = self.loop.time(), left
        since, unsent = self._unsent
        return self.loop.time() - since > self.patience + (unsent - left) / self.least_rate

    def _refuse(self, error: HTTPException) -> None:
        """Answer what was asked before, then this, and close the connection."""
        if self.last_word is not None or self.transport.is_closing():
            return
        self.flow.pause_reading()
        if not self._is_in_head and self.pipeline:
            self.pipeline.popleft()  # the one that is refused waits itself, the last in line
            self.last_word = error
        elif self._is_in_head and self._is_answering():
            self.last_word = error
        else:
            self._end_with(error)

    def _end_with(self, error: HTTPException) -> None:
        """Close the connection, with an answer unless one is under way or given, or nothing was asked."""
        cycle: Any = self.cycle
        # Until a head is complete, this is still the cycle of the request before.
        is_silent = cycle is None or (
            cycle.response_complete if self._is_in_head else not cycle.response_started
        )
        if self._has_begun and is_silent and not self.transport.is_closing():
            request_id = secrets.token_hex(16)
            _log.info(
                "request refused",
                status=error.status_code,
                reason=error.detail,
                client=_address(self.client),
                request_id=request_id,
            )
            self.transport.write(_answer(error, request_id))
        # A route that waits for the rest of a body learns that the client is gone.
        self.transport.close()


def _not_acknowledged(transport: asyncio.WriteTransport) -> int:
    """Return how many bytes of ours the client's machine has not taken yet; 0 once nothing is left here to send."""
    ours = transport.get_write_buffer_size()
    if not ours:
        return 0
    # What the system has taken from us can be megabytes, and only then does it take more.
    buffer = bytearray(4)
    with suppress(OSError):  # systems that do not tell
        ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, buffer)
    return ours + int.from_bytes(buffer, sys.byteorder)


class _NotTaken(Exception):
    """Ends the work of the parser, which makes uvicorn call `send_400_response`."""


class _OneAfterTheOther(FlowControl):
    """Reads no further while a request waits in line.

    uvicorn would, after every answer and whenever a route asks for a body: then all that a client can send is in
    memory.
    """

    def __init__(self, transport: asyncio.Transport, protocol: TimeoutProtocol) -> None:
        super().__init__(transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        is_free = not self._protocol.pipeline and self._protocol.last_word is None
        if is_free and not self._transport.is_closing():
            super().resume_reading()


def _address(client: tuple[str, int] | None) -> str | None:
    return client[0] if client else None


def _answer(error: HTTPException, request_id: str) -> bytes:
    scope = {"type": "http", "path": "", "headers": []}
    begin_request(scope, request_id)
    response = problem_response(scope, error)
    headers = [
        *response.raw_headers,
        *SECURITY_HEADERS,
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    lines = [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % header for header in headers)]
    return b"".join([*lines, b"\r\n", response.body])
