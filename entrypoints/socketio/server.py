"""`AsyncServer`: python-socketio's server, whose handlers are written like FastAPI routes.

sio = AsyncServer()

@sio.on("chat.send")
async def handle(message: ChatMessage, user: Annotated[User, Depends(get_current_user)]) -> Receipt:
    ...

app = socketio.ASGIApp(sio, other_asgi_app=fastapi_app)
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi.params import Depends

from entrypoints.socketio.analysis import Registration, is_plain
from entrypoints.socketio.dispatch import Dispatcher
from entrypoints.socketio.errors import ExceptionHandler, InvalidHandler
from entrypoints.socketio.handlers import PlannedHandler
from entrypoints.socketio.limits import RESERVED, Limits
from entrypoints.socketio.metrics import Metrics
from entrypoints.socketio.namespace import PREFIX, AsyncNamespace
from entrypoints.socketio.results import serialise
from entrypoints.socketio.router import HandlerRegistry, Route

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=ExceptionHandler)


async def _accept() -> None:
    """Accept a client, where dependencies of the server are all that may refuse it."""


class AsyncServer(HandlerRegistry, Dispatcher):
    """A Socket.IO server with dependency injection, for ASGI. Mount it outside of FastAPI, by `socketio.ASGIApp`.

    All options of `socketio.AsyncServer` are taken, but for `always_connect` together with a `connect` that could
    refuse. A handler that needs none of what this class adds is stored, and runs, as it is.
    """

    def __init__(
        self,
        client_manager: Any = None,
        *,
        limits: Limits | None = None,
        dependencies: Sequence[Any] = (),
        ordered: bool = False,
        metrics: Metrics | None = None,
        app: Any = None,
        **options: Any,
    ) -> None:
        """`dependencies` run before every handler but those of `disconnect`, and before a client is accepted.

        `ordered` lets the events of a client run one after another; otherwise each is a task. `app` is what
        `HTTPConnection.app` is for dependencies, since the FastAPI application is inside and has not been asked.
        """
        super().__init__(
            client_manager,
            limits=limits or Limits(),
            ordered=ordered,
            metrics=metrics or Metrics(),
            app=app,
            **options,
        )
        self.dependencies: tuple[Depends, ...] = tuple(dependencies)
        self.emits: dict[tuple[str, str], Any] = {}
        """The events that the server sends, with the types of their data, by namespace and event."""
        if self.dependencies:
            accept = Registration("connect", "/")
            self._implicit_connect = self._planned_handler(_accept, accept, (), None)

    # --- registration ---

    def add_route(self, route: Route) -> None:
        registration = Registration(route.event, route.namespace or "/")
        stored = self._stored(route.handler, registration, route.dependencies, route.ordered)
        self.handlers.setdefault(registration.namespace, {})[route.event] = stored

    def register_namespace(self, namespace_handler: Any) -> None:
        """Register a namespace that is a class: an instance of `AsyncNamespace`, ours or python-socketio's.

        Raise `InvalidHandler` for methods that could never run, and for dependencies in a class that is not ours.
        """
        super().register_namespace(namespace_handler)
        planned: dict[str, PlannedHandler] = {}
        dependencies = getattr(namespace_handler, "dependencies", ())
        for name in dir(namespace_handler):
            if not name.startswith(PREFIX) or not callable(getattr(namespace_handler, name)):
                continue
            registration = Registration(name.removeprefix(PREFIX), namespace_handler.namespace)
            method = getattr(namespace_handler, name)
            guards = () if registration.event == "disconnect" else dependencies
            stored = self._stored(method, registration, guards, None)
            if isinstance(stored, PlannedHandler):
                planned[registration.event] = stored
        if isinstance(namespace_handler, AsyncNamespace):
            if dependencies and not hasattr(namespace_handler, f"{PREFIX}connect"):
                accept = Registration("connect", namespace_handler.namespace)
                planned["connect"] = self._planned_handler(_accept, accept, dependencies, None)
            namespace_handler.planned = planned
        elif planned:
            raise InvalidHandler(
                f"{namespace_handler.namespace}: only classes that derive from "
                f"{AsyncNamespace.__module__}.AsyncNamespace have dependencies and payloads"
            )

    def exception_handler(self, kind: type[BaseException]) -> Callable[[E], E]:
        """Register what becomes of exceptions of `kind`: a function from the exception to a `SocketError`."""

        def register(handler: E) -> E:
            self._exception_handlers.add(kind, handler)
            return handler

        return register

    def register_emit(self, event: str, type_: Any, namespace: str | None = None) -> None:
        """Say which data the server sends with an event, for the AsyncAPI document."""
        self.emits[namespace or "/", event] = type_

    @property
    def planned_handlers(self) -> dict[tuple[str, str], PlannedHandler]:
        """Return the handlers that have a plan, by namespace and event."""
        functions = {
            (namespace, event): handler
            for namespace, handlers in self.handlers.items()
            for event, handler in handlers.items()
            if isinstance(handler, PlannedHandler)
        }
        methods = {
            (name, event): handler
            for name, namespace in self.namespace_handlers.items()
            for event, handler in getattr(namespace, "planned", {}).items()
        }
        return methods | functions

    def _stored(
        self,
        handler: Callable[..., Any],
        registration: Registration,
        dependencies: Sequence[Depends],
        ordered: bool | None,  # noqa: FBT001
    ) -> Callable[..., Any]:
        if registration.event in RESERVED - {"connect", "disconnect"}:
            raise InvalidHandler(f"{registration}: the name is reserved, and no client can send it")
        has_options = self._guards_of(registration) or dependencies or ordered is not None
        if not has_options and is_plain(handler, registration):
            return handler
        if registration.event == "connect" and self.always_connect:
            raise InvalidHandler("connect: always_connect accepts clients before it has run")
        return self._planned_handler(handler, registration, dependencies, ordered)

    def _planned_handler(
        self,
        handler: Callable[..., Any],
        registration: Registration,
        dependencies: Sequence[Depends],
        ordered: bool | None,  # noqa: FBT001
    ) -> PlannedHandler:
        return PlannedHandler(
            handler,
            registration,
            self,
            dependencies=(*self._guards_of(registration), *dependencies),
            ordered=self.ordered if ordered is None else ordered,
        )

    def _guards_of(self, registration: Registration) -> tuple[Depends, ...]:
        # It is too late to refuse the client, and the handler must clean up.
        return () if registration.event == "disconnect" else self.dependencies

    # --- sending ---

    async def emit(  # noqa: PLR0917  the signature is python-socketio's
        self,
        event: str,
        data: Any = None,
        to: str | list[str] | None = None,
        room: str | list[str] | None = None,
        skip_sid: str | list[str] | None = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Send an event, as python-socketio does; models, dates, UUIDs and the like are serialised."""
        await super().emit(
            event,
            serialise(data),
            to=to,
            room=room,
            skip_sid=skip_sid,
            namespace=namespace,
            callback=callback,
            ignore_queue=ignore_queue,
        )

    if TYPE_CHECKING:
        # What people call most, with types; the code is python-socketio's.
        async def send(self, data: Any, to: str | None = None, **options: Any) -> None: ...
        async def call(
            self,
            event: str,
            data: Any = None,
            to: str | None = None,
            *,
            namespace: str | None = None,
            timeout: float = 60,  # noqa: ASYNC109
        ) -> Any: ...
        async def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None: ...
        async def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None: ...
        async def close_room(self, room: str, namespace: str | None = None) -> None: ...
        def rooms(self, sid: str, namespace: str | None = None) -> list[str]: ...
        def transport(self, sid: str, namespace: str | None = None) -> str: ...
        def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any] | None: ...
        async def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]: ...
        async def save_session(
            self, sid: str, session: dict[str, Any], namespace: str | None = None
        ) -> None: ...
        def session(
            self, sid: str, namespace: str | None = None
        ) -> AbstractAsyncContextManager[dict[str, Any]]: ...

    def start_listening(self) -> None:
        """Let the manager hear other processes now; otherwise it begins with the first client."""
        if not self.manager_initialized:
            self.manager_initialized: bool = True
            self.manager.initialize()

    async def shutdown(self) -> None:
        """Stop the tasks of the server and of its manager; call it when all clients have gone."""
        await super().shutdown()
        if listening := getattr(self.manager, "thread", None):
            listening.cancel()
            await asyncio.wait([listening])

    async def disconnect(
        self,
        sid: str,
        namespace: str | None = None,
        ignore_queue: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Tell a client to leave a namespace; its connection is cut if it joins no other one in time."""
        eio_sid = self.manager.eio_sid_from_sid(sid, namespace or "/")
        await super().disconnect(sid, namespace=namespace, ignore_queue=ignore_queue)
        self._expect_namespace(eio_sid)
