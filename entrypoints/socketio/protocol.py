"""uvicorn's WebSocket protocol, in which no connection outlives its end."""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Cuts a connection `patience` seconds after it was to be closed.

    uvicorn closes a transport, which then waits until everything is sent: for ever, if the client reads nothing.
    """

    patience = 10.0
    """Seconds."""

    _cut: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
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
