"""The Socket.IO server of the product: its events, its errors, and what it takes from the settings."""

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI

from application.settings import HttpSettings
from domain.errors import PorticoError
from entrypoints.realtime import chat, rooms, session
from entrypoints.realtime.errors import socket_error
from entrypoints.realtime.security import check_declared
from entrypoints.realtime.session import NotificationBody
from entrypoints.room_bodies import MessageBody
from entrypoints.socketio.metrics import Metrics
from entrypoints.socketio.router import SocketRouter
from entrypoints.socketio.server import AsyncServer

ROUTERS = (session.router, rooms.router, chat.router)

EMITTED = {
    "chat.receive": MessageBody,
    "chat.typing": chat.TypingBody,
    "presence": rooms.PresenceBody,
    "room.deleted": rooms.RoomDeletedBody,
    "notification": NotificationBody,
}
"""What the server sends, besides `error`: the events and their data."""


def described_server(
    http: HttpSettings | None = None,
    *,
    routers: Iterable[SocketRouter] = (),
    client_manager: Any = None,  # noqa: ANN401 - python-socketio has no types
    metrics: Metrics | None = None,
    app: FastAPI | None = None,
) -> AsyncServer:
    """Return the server with our events and those of `routers`; raise `UndeclaredEvent`.

    Without `app` it is enough to describe it, not to serve it.
    """
    http = http or HttpSettings()
    sio = AsyncServer(
        client_manager,
        metrics=metrics,
        app=app,
        # Polling would need every poll to reach the same process, and hold up a stop until the poll ends.
        transports=["websocket"],
        max_http_buffer_size=http.body_limit,
        cors_allowed_origins=_origin_check(http.cors.origins),
    )
    sio.exception_handler(PorticoError)(socket_error)
    for router in (*ROUTERS, *routers):
        sio.include_router(router)
    for event, data in EMITTED.items():
        sio.register_emit(event, data)
    check_declared(sio)
    return sio


def _origin_check(allowed: Iterable[str]) -> Callable[[str, dict[str, Any]], bool]:
    """Return a check of the page that a browser connects for: of this service, or of an allowed origin."""
    origins = frozenset(allowed)

    def is_allowed(origin: str, environ: dict[str, Any]) -> bool:
        is_own = urlsplit(origin).netloc == environ.get("HTTP_HOST")
        return is_own or origin in origins or "*" in origins

    return is_allowed
