"""Handles connections and events: limits, plans, acks and errors. `server` adds the public methods."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import socketio
import structlog
from socketio import exceptions, packet
from starlette.requests import HTTPConnection

from entrypoints.socketio.engine import Engine
from entrypoints.socketio.errors import (
    MAX_NAME,
    Code,
    Envelope,
    ExceptionHandlers,
    SocketError,
    envelope,
    internal_error,
)
from entrypoints.socketio.handlers import PlannedHandler
from entrypoints.socketio.limits import RESERVED, Client, Limits
from entrypoints.socketio.metrics import Metrics
from entrypoints.socketio.namespace import PREFIX, AsyncNamespace
from entrypoints.socketio.packets import BinaryData, StrictPacket
from entrypoints.socketio.plan import Arguments
from entrypoints.socketio.results import serialise

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.socketio")


class Dispatcher(socketio.AsyncServer):  # type: ignore[misc]  # python-socketio has no types
    """The half of `AsyncServer` that python-socketio calls."""

    def __init__(
        self,
        client_manager: Any,
        *,
        limits: Limits,
        ordered: bool,
        metrics: Metrics,
        app: Any,
        **options: Any,
    ) -> None:
        if "json" not in options:
            options.setdefault("serializer", StrictPacket)
        super().__init__(client_manager, **options)
        self.limits = self.eio.limits = limits
        self.metrics = self.eio.metrics = metrics
        self.ordered = ordered
        self.app = app
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        """What runs in the place of a dependency, in tests; may be the very dict of a FastAPI application."""
        self._exception_handlers = ExceptionHandlers()
        self._implicit_connect: PlannedHandler | None = None
        """What runs in namespaces without a `connect` of their own."""
        self._clients: dict[str, Client] = {}

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    # --- state ---

    @property
    def connection_count(self) -> int:
        """How many connections this process has, joined to a namespace or not."""
        return len(self._clients)

    def unsent_bytes(self) -> int:
        """Return how many bytes wait to be sent, to all clients of this process together."""
        return self.eio.unsent_bytes()  # type: ignore[no-any-return]

    def connection_of(self, sid: str, namespace: str) -> HTTPConnection | None:
        """Return the handshake of a client of this process."""
        environ = self.get_environ(sid, namespace)
        if environ is None or "asgi.scope" not in environ:
            return None
        scope = environ["asgi.scope"]
        return HTTPConnection(scope if self.app is None else {**scope, "app": self.app})

    # --- connections ---

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        self._clients[eio_sid] = Client(self.limits, asyncio.get_running_loop().time())
        self._expect_namespace(eio_sid)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        try:
            await super()._handle_eio_disconnect(eio_sid, reason)
        finally:
            self.environ.pop(eio_sid, None)
            self._binary_packet.pop(eio_sid, None)
            if client := self._clients.pop(eio_sid, None):
                client.stop_timer()

    def _expect_namespace(self, eio_sid: str) -> None:
        """Cut the connection if it has no namespace when its time is over."""
        client = self._clients.get(eio_sid)
        if client is not None and client.timer is None and not self._has_namespace(eio_sid):
            loop = asyncio.get_running_loop()
            client.timer = loop.call_later(
                self.limits.connect_timeout, self._check_namespace, eio_sid, client
            )

    def _check_namespace(self, eio_sid: str, client: Client) -> None:
        client.timer = None
        if not self._has_namespace(eio_sid):
            self.start_background_task(self.eio.drop, eio_sid, "no namespace")

    def _has_namespace(self, eio_sid: str) -> bool:
        return any(
            self.manager.is_connected(self.manager.sid_from_eio_sid(eio_sid, name), name)
            for name in self.manager.get_namespaces()
        )

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        namespace = namespace or "/"
        client = self._clients.get(eio_sid)
        error = client.refusal() if client else None
        if not self._accepts(namespace):
            error = SocketError(Code.UNSUPPORTED, "Unknown namespace")
        elif self.manager.sid_from_eio_sid(eio_sid, namespace) is not None:
            error = SocketError(Code.NOT_ALLOWED, "Already connected")
        if error is not None:
            await self._refuse_connection(eio_sid, namespace, envelope("connect", error))
            return
        environ = self.environ.get(eio_sid)
        try:
            await super()._handle_connect(eio_sid, namespace, data)
        except BaseException as raised:
            sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
            await self.manager.disconnect(sid, namespace, ignore_queue=True)
            if not isinstance(raised, Exception):
                raise
            failure = self._failure(raised, "connect", sid, namespace)
            await self._refuse_connection(eio_sid, namespace, envelope("connect", failure))
            return
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None or not self.manager.is_connected(sid, namespace):
            self.metrics.connection_refused(namespace, Code.NOT_ALLOWED)
        elif eio_sid not in self.environ:
            # It left while its connect handler ran; python-socketio would keep it for ever. Its disconnect handler may
            # ask for the handshake.
            self.environ[eio_sid] = environ
            try:
                await self._handle_disconnect(eio_sid, namespace, self.reason.TRANSPORT_CLOSE)
            finally:
                self.environ.pop(eio_sid, None)
        else:
            self.metrics.connected(namespace)
            if client is not None:
                client.stop_timer()

    def _accepts(self, namespace: str) -> bool:
        return (
            namespace in self.handlers
            or namespace in self.namespace_handlers
            or self.namespaces == "*"
            or namespace in self.namespaces
        )

    async def _refuse_connection(self, eio_sid: str, namespace: str, error: Envelope) -> None:
        is_known = self._accepts(namespace)
        self.metrics.connection_refused(namespace if is_known else "*", error["code"])
        data = {"message": error["message"], "data": error}
        await self._send_packet(
            eio_sid, self.packet_class(packet.CONNECT_ERROR, data=data, namespace=namespace)
        )

    async def _handle_disconnect(
        self, eio_sid: str, namespace: str | None, reason: str | None = None
    ) -> None:
        namespace = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        try:
            await super()._handle_disconnect(eio_sid, namespace, reason)
        except BaseException:
            await self.manager.disconnect(sid, namespace, ignore_queue=True)
            raise
        self._expect_namespace(eio_sid)

    # --- events ---

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        client = self._clients.get(eio_sid)
        is_attachment = eio_sid in self._binary_packet
        if client and not is_attachment:
            now = asyncio.get_running_loop().time()
            if not client.charge(now, len(data)):
                await self.eio.drop(eio_sid, "too fast")
                return
        await super()._handle_eio_message(eio_sid, data)

    async def _handle_ack(
        self, eio_sid: str, namespace: str | None, ack_id: int, data: list[Any]
    ) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or "/")
        # python-socketio keeps its counter as number 0, and writes a warning for each ack without a waiting call.
        if ack_id and ack_id in self.manager.callbacks.get(sid, ()):
            await super()._handle_ack(eio_sid, namespace, ack_id, data)

    async def _handle_event(
        self,
        eio_sid: str,
        namespace: str | None,
        ack_id: int | None,
        data: list[Any],
    ) -> None:
        namespace = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        self.logger.info('received event "%s" from %s [%s]', data[0], sid, namespace)
        if not self.manager.is_connected(sid, namespace):
            return  # its last events were on the way when it had to leave
        client = self._clients.get(eio_sid)
        if client is not None:
            error = client.refusal()
            if data[0] in RESERVED:
                error = SocketError(Code.UNSUPPORTED, "The name is reserved")
            if error is not None:
                self.metrics.refused(namespace, error.code)
                await self._send_error(eio_sid, namespace, ack_id, envelope(data[0], error))
                return
            client.in_flight += 1
        facts = (self, sid, eio_sid, data, namespace, ack_id)
        if self.async_handlers:
            self.start_background_task(self._handle_event_internal, *facts)
        else:
            await self._handle_event_internal(*facts)

    async def _handle_event_internal(  # noqa: PLR0917  python-socketio's tests ask for it
        self,
        server: Any,  # noqa: ARG002
        sid: str,
        eio_sid: str,
        data: list[Any],
        namespace: str,
        ack_id: int | None,
    ) -> None:
        client = self._clients.get(eio_sid)
        planned = self._planned(data[0], namespace)
        try:
            if client and (self.ordered if planned is None else planned.ordered):
                async with client.lock:
                    await self._respond(planned, sid, eio_sid, data, namespace, ack_id)
            else:
                await self._respond(planned, sid, eio_sid, data, namespace, ack_id)
        finally:
            if client is not None:
                client.in_flight -= 1

    async def _respond(  # noqa: PLR0917  the facts about one event
        self,
        planned: PlannedHandler | None,
        sid: str,
        eio_sid: str,
        data: list[Any],
        namespace: str,
        ack_id: int | None,
    ) -> None:
        """Run a handler, then complete the ack; after a failure with the error, which is an event of its own too."""
        event: str = data[0]
        name = event if planned is None else planned.registration.event
        if planned is None and not self._is_registered(event, namespace):
            name = "*"  # clients choose the name; only declared names are counted
        with self.metrics.handling(namespace, name):
            started = perf_counter()
            code: int | None = None
            try:
                if planned is not None:
                    arguments = (Arguments if type(data) is BinaryData else tuple)(data[1:])
                    result = await planned.run(sid, event, namespace, arguments)
                else:
                    result = await super()._trigger_event(event, namespace, sid, *data[1:])
                    if result is self.not_handled:
                        raise SocketError(Code.UNSUPPORTED, "Unknown event")  # noqa: TRY301
                    result = serialise(result)
                if ack_id is not None:
                    await self._send_ack(eio_sid, namespace, ack_id, result)
            except Exception as error:  # noqa: BLE001  it is logged unless an exception handler expects it
                failure = self._failure(error, event, sid, namespace)
                await self._send_error(eio_sid, namespace, ack_id, envelope(event, failure))
                code = failure.code
            self.metrics.handled(namespace, name, perf_counter() - started, code)

    def _is_registered(self, event: str, namespace: str) -> bool:
        if event in self.handlers.get(namespace, ()) or event in self.handlers.get("*", ()):
            return True
        class_, _ = self._get_namespace_handler(namespace, ())
        return hasattr(class_, PREFIX + event)

    def _planned(self, event: str, namespace: str) -> PlannedHandler | None:
        handler, _ = self._get_event_handler(event, namespace, ())
        if handler is None:
            class_, _ = self._get_namespace_handler(namespace, ())
            if isinstance(class_, AsyncNamespace):
                handler = class_.planned.get(event)
            if event == "connect" and not hasattr(class_, f"{PREFIX}connect"):
                handler = handler or self._implicit_connect
        return handler if isinstance(handler, PlannedHandler) else None

    async def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        planned = self._planned(event, namespace)
        if event == "disconnect":
            return await self._run_disconnect(planned, namespace, *args)
        if planned is None:
            return await super()._trigger_event(event, namespace, *args)
        if event == "connect":
            return await self._run_connect(planned, namespace, *args)
        return await planned.run(args[0], event, namespace, args[1:])

    async def _run_connect(
        self, planned: PlannedHandler, namespace: str, sid: str, environ: Any, auth: Any = None
    ) -> None:
        """Run a connect handler; raise python-socketio's `ConnectionRefusedError` unless the client is accepted."""
        # python-socketio runs the handler again after a TypeError, so that none may escape.
        arguments = () if auth is None else (auth,)
        refused = exceptions.ConnectionRefusedError
        try:
            accepted = await planned.run(
                sid, "connect", namespace, arguments, environ=environ, auth=auth
            )
        except refused as error:
            if "data" in error.error_args:
                raise
            failure = SocketError(Code.NOT_ALLOWED, error.error_args["message"])
        except ConnectionRefusedError as error:
            failure = SocketError(Code.NOT_ALLOWED, str(error) or "Connection refused by server")
        except Exception as error:  # noqa: BLE001
            failure = self._failure(error, "connect", sid, namespace)
        else:
            if accepted is not False:
                return
            failure = SocketError(Code.NOT_ALLOWED, "Connection rejected by server")
        refusal = envelope("connect", failure)
        raise refused(refusal["message"], refusal)

    async def _run_disconnect(
        self, planned: PlannedHandler | None, namespace: str, sid: str, reason: str
    ) -> Any:
        """Run a disconnect handler; what it raises is logged, since the client is gone."""
        self.metrics.disconnected(namespace, reason)
        try:
            if planned is None:
                return await super()._trigger_event("disconnect", namespace, sid, reason)
            return await planned.run(sid, "disconnect", namespace, reason=reason)
        except Exception as error:  # noqa: BLE001
            self._failure(error, "disconnect", sid, namespace)

    # --- errors ---

    def _failure(self, error: Exception, event: str, sid: str, namespace: str) -> SocketError:
        """Return what the client gets for `error`, and log it if it is a fault of ours."""
        try:
            foreseen = self._exception_handlers(error)
        except Exception as raised:  # noqa: BLE001
            foreseen, error = None, raised
        if foreseen is not None:
            return foreseen
        _log.error(
            "handler failed",
            socket_event=event[:MAX_NAME],
            sid=sid,
            namespace=namespace,
            exc_info=error,
        )
        return internal_error()

    async def _send_error(
        self,
        eio_sid: str,
        namespace: str,
        ack_id: int | None,
        error: Envelope,
    ) -> None:
        event = self.packet_class(packet.EVENT, data=["error", error], namespace=namespace)
        await self._send_packet(eio_sid, event)
        if ack_id is not None:
            await self._send_ack(eio_sid, namespace, ack_id, {"error": error})

    async def _send_ack(self, eio_sid: str, namespace: str, ack_id: int, result: Any) -> None:
        if result is None:
            data = []
        elif isinstance(result, tuple):
            data = list(result)
        else:
            data = [result]
        ack = self.packet_class(packet.ACK, namespace=namespace, id=ack_id, data=data)
        await self._send_packet(eio_sid, ack)
