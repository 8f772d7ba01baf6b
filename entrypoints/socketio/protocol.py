"""uvicorn's WebSocket protocol, in which no connection outlives its end."""

import asyncio
import logging
import random
import sys
import time
from typing import Any

import structlog
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame
from websockets.server import ServerProtocol

TOO_MANY_FRAMES = "too many frames"
"""The reason for which a connection is cut, to the client and to the application."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.socketio")


class _ConnectionLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs what a client did wrong, and every handshake that was refused, as the `info` that it is."""

    @property
    def level(self) -> int:
        return self.logger.level

    def error(self, msg: object, *args: object, **_: Any) -> None:
        self.info(msg, *args)

    def exception(self, msg: object, *args: object, **options: Any) -> None:
        if isinstance(sys.exception(), UnicodeDecodeError):
            self.info(msg, *args)
        else:
            super().exception(msg, *args, **options)


class BoundedProtocol(ServerProtocol):
    """Reads frames, but not too many.

    Those that are no whole messages are counted nowhere else. A quarter of a megabyte has 40,000 of them;
    while they are read, the requests of others time out.
    """

    most_frames = 5_000
    """In `window` seconds. A packet of Socket.IO has up to 11."""
    window = 5.0

    _frames = 0
    _since = 0.0

    def recv_frame(self, frame: Frame) -> None:
        self._frames += 1
        if self._frames > self.most_frames:
            now = time.monotonic()
            if now - self._since < self.window:
                _log.info("connection dropped", reason=TOO_MANY_FRAMES)
                self.fail(CloseCode.TRY_AGAIN_LATER, TOO_MANY_FRAMES)
                raise ProtocolError(TOO_MANY_FRAMES)
            self._frames, self._since = 0, now
        super().recv_frame(frame)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Cuts a connection `patience` seconds after it was to be closed.

    uvicorn closes a transport, which then waits until everything is sent: for ever, if the client reads nothing. When
    the server stops, it closes all connections at once; here they close one after the other, so that their clients do
    not all connect to the next server in the same moment. `close_within` does so before the server stops.
    """

    patience = 10.0
    """Seconds."""
    closed_per_second = 500
    """When the server stops; the last ones close after `longest_stop` seconds all the same."""
    longest_stop = 10.0

    _close: asyncio.TimerHandle | None = None
    _cut: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The lines about handshakes have the query in them, in which some clients send secrets.
        self.logger = _ConnectionLogger(logging.getLogger("uvicorn.access"))  # type: ignore[assignment]
        self.conn.__class__ = BoundedProtocol  # uvicorn makes them of one class, without a hook

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._close, self._cut):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self.close_within(0)

    def close_within(self, seconds: float) -> None:
        """Close at a random moment of that time, or of the time that so many connections need; the last call counts."""
        if self._close is not None:
            self._close.cancel()
        window = max(
            seconds, min(len(self.connections) / self.closed_per_second, self.longest_stop)
        )
        self._close = self.loop.call_later(random.uniform(0, window), self._stop)  # noqa: S311 - no secret

    def _stop(self) -> None:
        if not self.disconnected:
            super().shutdown()  # with 1012, Service Restart
            self._cut_in_time()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._cut_in_time()

    def handle_close(self, event: Any) -> None:
        super().handle_close(event)
        self._cut_in_time()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._cut_in_time()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._cut_in_time()

    def _cut_in_time(self) -> None:
        if self._cut is None and not self.disconnected:
            self._cut = self.loop.call_later(self.patience, self.transport.abort)
