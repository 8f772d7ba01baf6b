"""What `portico api` serves: HTTP and, on the same port, Socket.IO."""

import asyncio
import json
import secrets
from collections.abc import Iterable

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import bootstrap
from application.settings import Settings, Stores
from bootstrap import Container
from entrypoints.http.app import create_app
from entrypoints.http.errors import problem_response
from entrypoints.http.middleware import SECURITY_HEADERS
from entrypoints.http.protocol import SOCKET_PATH
from entrypoints.http.request_context import begin_request
from entrypoints.http.tracing import TracedApp
from entrypoints.realtime.app import Realtime
from entrypoints.socketio.metrics import Metrics
from entrypoints.socketio.router import SocketRouter
from entrypoints.tracing import Traces, follow_servers


class Api:
    """An ASGI application. Socket.IO is outside of HTTP's layers, which would wrap its connections."""

    def __init__(self, http: FastAPI, realtime: Realtime, outermost: ASGIApp) -> None:
        self.http = http
        self.realtime = realtime
        self._outermost = outermost

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == SOCKET_PATH:
            await self.realtime.sio.handle_request(scope, receive, _HandshakeSend(scope, send))
        else:
            await self._outermost(scope, receive, send)


def create_api(
    settings: Settings | None = None,
    *,
    container: Container | None = None,
    routers: Iterable[APIRouter] = (),
    socket_routers: Iterable[SocketRouter] = (),
    metrics: Metrics | None = None,
) -> Api:
    """Return the application of `container`; by default a container built from `settings` or the environment.

    It serves `routers` and `socket_routers` besides our own. Raise `UnsafeSettings`, and `UndeclaredRoute` or
    `UndeclaredEvent` if something does not declare who may use it.
    """
    http = create_app(settings, container=container, routers=routers)
    traces = _traces(http.state.container)
    realtime = Realtime(http, routers=socket_routers, metrics=metrics, traces=traces)
    http.state.companion = realtime
    return Api(http, realtime, http if traces is None else TracedApp(http, traces))


def _traces(container: Container) -> Traces | None:
    """Return the traces of this process, if there are to be any; they end with its container."""
    traces = bootstrap.traces(container.settings(), "api")
    if traces is not None:
        if container.settings().stores is Stores.SERVERS:
            follow_servers(traces, container)
        container.opened().push_async_callback(asyncio.to_thread, traces.close)
    return traces


class _HandshakeSend:
    """Sends the answer to a handshake; one that Socket.IO refuses gets a problem, like every other request."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._is_open = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "websocket.close" and not self._is_open:
            await self._refuse(_text(message.get("reason", "")))
            return
        self._is_open = True
        await self._send(message)

    async def _refuse(self, detail: str) -> None:
        request_id = secrets.token_hex(16)
        begin_request(self._scope, request_id, {})
        response = problem_response(self._scope, HTTPException(400, detail))
        headers = [
            *response.raw_headers,
            *SECURITY_HEADERS,
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        start = {"status": response.status_code, "headers": headers}
        await self._send({"type": "websocket.http.response.start", **start})
        await self._send({"type": "websocket.http.response.body", "body": bytes(response.body)})


def _text(reason: str) -> str:
    """Return what Engine.IO says, which it quotes as JSON."""
    try:
        return str(json.loads(reason))
    except ValueError:
        return reason
