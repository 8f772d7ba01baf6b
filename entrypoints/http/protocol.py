"""uvicorn's HTTP protocol with limits of time and size; invalid requests get a problem as the response.

Every state of a connection is bounded: waiting for a head, reading a body, waiting behind earlier requests of the same
connection (pipelining), and writing a response. The only protocol that a connection is upgraded to is WebSocket, at the
path of Socket.IO.
"""

import asyncio
import secrets
import sys
import weakref
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

from entrypoints.http.draining import DRAINING, Draining
from entrypoints.http.errors import problem_response
from entrypoints.http.middleware import SECURITY_HEADERS
from entrypoints.http.request_context import begin_request
from entrypoints.http.request_head import is_handshake

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

SOCKET_PATH = "/socket.io/"
"""Where Socket.IO is."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.http")


class TimeoutProtocol(HttpToolsProtocol):
    """Limits how long a client may take.

    A client has `timeout` seconds to send a request, from its first byte to the last of its body, and one second more
    for every `min_rate` bytes, so a client that sends part of a request (Slowloris) cannot hold a connection. The clock
    stops while reading is paused on our side. The client has the same time to read a response.
    """

    timeout = 15.0
    """Seconds."""

    min_rate = 1024
    """Bytes a second."""

    last_call = 2.0
    """Seconds that an idle connection of a process that has drained has for one more request."""

    max_head = 64 * 1024
    """Bytes; one read may exceed it."""

    max_pipelined = 100
    """Requests that may wait for earlier ones on the same connection. Reading is paused meanwhile, so more than one can
    wait only if they arrive in one read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        joining = JoiningTransport(transport, self.loop)  # type: ignore[arg-type]  # uvicorn narrows it too
        super().connection_made(joining)
        self.flow = _SequentialFlow(joining, self)
        self._draining: Draining | None = self.app_state.get(DRAINING)
        self._last_call: asyncio.TimerHandle | None = None
        self.final_error: HTTPException | None = None
        """The last response of this connection, sent after those to earlier requests."""
        self._running: RequestResponseCycle | None = None
        self._unsent: tuple[float, int] | None = None
        self._yields = False
        self._is_handshake = False
        self._await_request()
        self._schedule_check()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        if self._last_call is not None:
            self._last_call.cancel()
        # uvicorn keeps it after a reset, and with it all that belongs to the connection.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        # uvicorn notifies only the last of the pipelined requests.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        # The framing of a body (chunk sizes, chunk extensions, trailers) may be as large as the body itself.
        if self._received - 2 * self._read > self.max_head:
            self._reject(
                HTTPException(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The head is too large")
                if self._is_in_head
                else HTTPException(HTTPStatus.BAD_REQUEST, "The chunked body has too much framing")
            )
        elif len(data) >= HIGH_WATER_LIMIT and not self.flow.read_paused:
            # uvloop would read this connection up to 32 times in a row; let the others read first.
            self._yields = True
            self.flow.pause_reading()
            self.loop.call_soon(self._continue_reading)

    def _continue_reading(self) -> None:
        self._yields = False
        self.flow.resume_reading()

    def on_message_begin(self) -> None:
        self._await_request()
        self._has_started = True
        self._is_handshake = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= self.max_pipelined:
            self._reject(
                HTTPException(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    "Too many requests wait on this connection",
                    headers={"Retry-After": "1"},
                )
            )
            raise _Rejected
        if b"#" in self.url:
            raise _Rejected  # a request target has no fragment (RFC 9112 §3.2); uvicorn would drop it silently
        self._is_handshake = (
            self.ws_protocol_class is not None
            and self.parser.get_method() == b"GET"
            and self.url.partition(b"?")[0] == SOCKET_PATH.encode()
            and self.parser.get_http_version() == "1.1"
            # Behind an earlier request, the response to that one would be written into the other protocol.
            and not (self.pipeline or self._is_answering())
            and is_handshake(self.url, self.headers)
        )
        super().on_headers_complete()
        if self._is_handshake:
            return
        self._is_in_head = False
        # Trailers land in this list, which is never read: the checks of the headers have not seen them.
        self.headers = []
        if self._draining is not None and self._draining.has_begun:
            self.cycle.keep_alive = False
        if self.expect_100_continue:
            # A response sent before the body is read: its late bytes would look like the next request.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._read += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._await_request()

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        self._restart_clock()
        if is_last and self.final_error is not None:
            self._close_with(self.final_error)
        self.flow.resume_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent = None

    def shutdown(self) -> None:
        """Close the connection after the answers that are owed; uvicorn calls it when the process stops.

        A request may be on its way on an idle connection. So after a drain it is closed with the answer to that, or
        after `last_call`.
        """
        if self._draining is None or not self._draining.has_begun or self._is_answering():
            super().shutdown()
        else:
            self._unset_keepalive_if_required()
            self._last_call = self.loop.call_later(self.last_call, super().shutdown)

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP; uvicorn calls it."""
        self._has_started = True
        self._reject(HTTPException(HTTPStatus.BAD_REQUEST, msg.removesuffix(".")))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        """Return whether WebSocket takes over the connection; if not, the request is an ordinary one."""
        return self._is_handshake

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; from now on the other protocol bounds it."""
        self._watch.cancel()
        super().handle_websocket_upgrade()
        upgraded: Any = self.transport.get_protocol()
        if self._draining is not None:
            self._draining.lasting.add(upgraded)

    def _unsupported_upgrade_warning(self) -> None:
        # The next bytes may belong to the other protocol, so this request is the last one; uvicorn drops the rest.
        self.shutdown()

    def _await_request(self) -> None:
        self._is_in_head = True
        self._has_started = False
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._since = self.loop.time()
        self._received = 0
        self._read = 0

    def _schedule_check(self) -> None:
        # One timer per connection, not per request: the limit need not be exact.
        self._watch = self.loop.call_later(self.timeout / 4, self._check)

    def _check(self) -> None:
        if self._is_read_too_slowly():
            _log.info("answer not read in time", client=_address(self.client))
            self.transport.abort()
            return
        is_paused = self.flow.read_paused and not self._yields
        # Then uvicorn's own clock runs.
        is_idle = self.timeout_keep_alive_task is not None and not self._has_started
        if is_paused or is_idle or (self._is_in_head and self._is_answering()):
            self._restart_clock()
        elif self.loop.time() - self._since > self.timeout + self._allowance():
            self._reject(HTTPException(HTTPStatus.REQUEST_TIMEOUT, "The request came too slowly"))
        self._schedule_check()

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, although its type says otherwise
        return cycle is not None and not cycle.response_complete

    def _allowance(self) -> float:
        # Once the response is complete, the rest of the body is discarded, and extends the time no more.
        is_needed = self._is_in_head or self._is_answering()
        return self._received / self.min_rate if is_needed else 0.0

    def _is_read_too_slowly(self) -> bool:
        """Return whether the client is too slow to read the data that blocks us."""
        # Nothing is added to the buffer in either state, so it shrinks only by what the client reads.
        waits_for_client = self.flow.write_paused or self.transport.is_closing()
        left = _unacknowledged(self.transport) if waits_for_client else 0
        if not left:
            self._unsent = None
            return False
        if self._unsent is None:
            self._unsent = self.loop.time(), left
        since, unsent = self._unsent
        return self.loop.time() - since > self.timeout + (unsent - left) / self.min_rate

    def _reject(self, error: HTTPException) -> None:
        """Respond to the earlier requests, then with this error, and close the connection."""
        if self.final_error is not None or self.transport.is_closing():
            return
        self.flow.pause_reading()
        if not self._is_in_head and self.pipeline:
            self.pipeline.popleft()  # the rejected request itself, the newest one
            self.final_error = error
        elif self._is_in_head and self._is_answering():
            self.final_error = error
        else:
            self._close_with(error)

    def _close_with(self, error: HTTPException) -> None:
        """Close the connection; first send `error`, unless a response has started or no request has."""
        cycle: Any = self.cycle
        # Until the head is complete, this is still the cycle of the previous request.
        is_silent = cycle is None or (
            cycle.response_complete if self._is_in_head else not cycle.response_started
        )
        if self._has_started and is_silent and not self.transport.is_closing():
            request_id = secrets.token_hex(16)
            _log.info(
                "request refused",
                status=error.status_code,
                reason=error.detail,
                client=_address(self.client),
                request_id=request_id,
            )
            self.transport.write(_answer(error, request_id))
        # A route that waits for the rest of a body then sees a disconnect.
        self.transport.close()


def _unacknowledged(transport: asyncio.WriteTransport) -> int:
    """Return how many sent bytes the client's host has not acknowledged; 0 once our own buffer is empty."""
    buffered = transport.get_write_buffer_size()
    if not buffered:
        return 0
    # The send buffer of the system can hold megabytes, and takes more only when it has room.
    buffer = bytearray(4)
    with suppress(OSError):  # not every system supports it
        ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, buffer)
    return buffered + int.from_bytes(buffer, sys.byteorder)


class _Rejected(Exception):
    """Stops the parser; uvicorn then calls `send_400_response`."""


class JoiningTransport(asyncio.Transport):
    """Writes the head and the body of a response, and all responses of one turn of the event loop, at once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._unwritten: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn writes nothing else
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER_LIMIT:
            # Who writes on without a pause learns only from the transport that the client does not keep up.
            self._flush()

    def _flush(self) -> None:
        if self._unwritten:
            written, self._unwritten, self._size = b"".join(self._unwritten), [], 0
            if not self._transport.is_closing():
                self._transport.write(written)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        return self._size + self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio has it
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._transport.get_protocol()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._flush()
        self._transport.set_protocol(protocol)


class _SequentialFlow(FlowControl):
    """Pauses reading while a request waits for an earlier one.

    uvicorn would read on after every response and whenever a route reads a body, and buffer all that a client sends.
    """

    def __init__(self, transport: asyncio.Transport, protocol: TimeoutProtocol) -> None:
        super().__init__(transport)
        # Each would keep the other, and all of the last request, until the garbage collector looks.
        self._protocol: TimeoutProtocol = weakref.proxy(protocol)

    def resume_reading(self) -> None:
        is_free = not self._protocol.pipeline and self._protocol.final_error is None
        if is_free and not self._transport.is_closing():
            super().resume_reading()


def _address(client: tuple[str, int] | None) -> str | None:
    return client[0] if client else None


def _answer(error: HTTPException, request_id: str) -> bytes:
    scope = {"type": "http", "path": "", "headers": []}
    begin_request(scope, request_id, {})
    response = problem_response(scope, error)
    headers = [
        *response.raw_headers,
        *SECURITY_HEADERS,
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    lines = [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % header for header in headers)]
    return b"".join([*lines, b"\r\n", response.body])
