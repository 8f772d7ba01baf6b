"""How uvicorn reads requests: within bounds of time and size, and what is no request gets an answer in our form."""

import asyncio
import secrets
from http import HTTPStatus
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from entrypoints.http.errors import problem_response
from entrypoints.http.exchange import begin
from entrypoints.http.middleware import SECURITY_HEADERS

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.http")


class PatientProtocol(HttpToolsProtocol):
    """Waits for a request, but not for ever.

    A client has `patience` to send one, from its first byte to the last of its body, and a second more for every
    `least_rate` bytes: so that whoever sends no more than a part of one (Slowloris) does not keep a connection. While
    we are the ones who do not read, its time stands still.
    """

    patience = 15.0
    """Seconds."""

    least_rate = 1024
    """Bytes a second."""

    largest_head = 64 * 1024
    """Bytes, and as many more as come in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it too
        self._is_in_head = True
        self._has_begun = False
        self._begin_to_wait()
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        if self._is_in_head and self._received > self.largest_head:
            self._refuse(
                HTTPException(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The head is too large")
            )

    def on_message_begin(self) -> None:
        self._is_in_head = self._has_begun = True
        self._begin_to_wait()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes after the body is no header: whoever decided by the headers has not seen it.
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        # Between requests uvicorn's own limit on idle connections holds.
        self._has_begun = False
        self._is_waiting = False
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._watch.cancel()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; uvicorn calls it."""
        self._has_begun = True
        self._refuse(HTTPException(HTTPStatus.BAD_REQUEST, msg.removesuffix(".")))

    def _begin_to_wait(self) -> None:
        self._is_waiting = True
        self._since = self.loop.time()
        self._received = 0

    def _look_again(self) -> None:
        # One timer a connection, not one a request: nobody needs it to the second.
        self._watch = self.loop.call_later(self.patience / 4, self._look)

    def _look(self) -> None:
        if self._is_waiting:
            if self.flow.read_paused or (self._is_in_head and self._is_answering()):
                self._begin_to_wait()
            elif self.loop.time() - self._since > self.patience + self._received / self.least_rate:
                _log.info("request not received in time", client=self.client)
                self._refuse(
                    HTTPException(HTTPStatus.REQUEST_TIMEOUT, "The request came too slowly")
                )
                return
        self._look_again()

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        return cycle is not None and not cycle.response_complete

    def _refuse(self, error: HTTPException) -> None:
        """Close the connection, with an answer unless one is under way, or nothing was asked."""
        cycle: Any = self.cycle
        # Until a head is complete, this is still the cycle of the request before.
        is_silent = cycle is None or (
            cycle.response_complete if self._is_in_head else not cycle.response_started
        )
        if self._has_begun and is_silent and not self.transport.is_closing():
            self.transport.write(_answer(error))
        # A route that waits for the rest of a body learns that the client is gone.
        self.transport.close()


def _answer(error: HTTPException) -> bytes:
    scope = {"type": "http", "path": "", "headers": []}
    request_id = begin(scope, secrets.token_hex(16)).request_id
    response = problem_response(scope, error)
    headers = [
        *response.raw_headers,
        *SECURITY_HEADERS,
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    lines = [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % header for header in headers)]
    return b"".join([*lines, b"\r\n", response.body])
