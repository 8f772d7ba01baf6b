"""What is looked at when a handler is registered: wrong ones are refused, simple ones are left alone."""

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import fastapi
import pytest
import socketio
from engineio.async_socket import AsyncSocket
from engineio.packet import MESSAGE, Packet
from fastapi import BackgroundTasks, Cookie, Header, Query, Request, Response, WebSocket
from pydantic import BaseModel

from entrypoints.socketio.engine import Socket
from entrypoints.socketio.errors import InvalidHandler
from entrypoints.socketio.namespace import AsyncNamespace
from entrypoints.socketio.parameters import SID, Auth, Depends, Environ, Reason
from entrypoints.socketio.router import SocketRouter
from entrypoints.socketio.server import AsyncServer
from entrypoints.socketio.testing import ConnectionRefused, SocketTestClient
from tests.unit.entrypoints.socketio import string_annotations


class User:
    """A class that Pydantic knows nothing about."""


class Message(BaseModel):
    text: str
    room: str
    number: int


@pytest.fixture
def sio() -> AsyncServer:
    return AsyncServer()


# --- refused ------------------------------------------------------------------------------------


async def no_marker(user: User) -> None: ...
async def of_dependency(tenant: str) -> None: ...
async def unresolved(value: Annotated[None, Depends(of_dependency)]) -> None: ...
async def model_of_dependency(message: Message) -> None: ...
async def unresolved_model(value: Annotated[None, Depends(model_of_dependency)]) -> None: ...
async def takes_environ(environ: Environ) -> None: ...
async def environ_below(value: Annotated[None, Depends(takes_environ)]) -> None: ...
async def takes_auth(auth: Auth) -> None: ...
async def takes_reason(reason: Reason) -> None: ...
async def takes_request(request: Request) -> None: ...
async def request_below(value: Annotated[None, Depends(takes_request)]) -> None: ...
async def takes_response(response: Response) -> None: ...
async def takes_tasks(tasks: BackgroundTasks) -> None: ...
async def takes_websocket(socket: WebSocket) -> None: ...
async def takes_header(x_token: Annotated[str | None, Header()] = None) -> None: ...
async def header_below(value: Annotated[None, Depends(takes_header)]) -> None: ...
async def takes_query(q: str = Query()) -> None: ...
async def takes_cookie(session: Annotated[str, Cookie()]) -> None: ...
async def takes_anything(number: int, **rest: int) -> None: ...
async def no_callable(value: int = Depends()) -> None: ...
async def no_type(value=Depends()) -> None: ...  # type: ignore[no-untyped-def]  # noqa: B008


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (no_marker, "user"),
        (unresolved, "tenant"),
        (unresolved_model, "message"),
        (takes_environ, "environ"),
        (environ_below, "environ"),
        (takes_auth, "auth"),
        (takes_reason, "reason"),
        (takes_request, "request"),
        (request_below, "request"),
        (takes_response, "response"),
        (takes_tasks, "tasks"),
        (takes_websocket, "socket"),
        (takes_header, "x_token"),
        (header_below, "x_token"),
        (takes_query, "q"),
        (takes_cookie, "session"),
        (takes_anything, "rest"),
        (no_type, "value"),
    ],
)
def test_a_handler_that_could_never_run_is_refused_and_the_parameter_named(
    sio: AsyncServer, handler: Any, name: str
) -> None:
    with pytest.raises(InvalidHandler, match=f"chat.send: parameter '{name}' of "):
        sio.on("chat.send", handler)


def test_payload_of_a_disconnect_is_refused(sio: AsyncServer) -> None:
    with pytest.raises(InvalidHandler, match="disconnect: parameter 'message' of "):

        @sio.on("disconnect")
        async def disconnect(message: Message) -> None: ...

    with pytest.raises(InvalidHandler, match="connect: parameter 'more' of "):

        @sio.on("connect")
        async def connect(auth: Message, more: int) -> None: ...


def test_dependencies_in_a_circle_are_refused(sio: AsyncServer) -> None:
    async def first(value: Any) -> None: ...
    async def second(value: Annotated[None, Depends(first)]) -> None: ...

    first.__annotations__["value"] = Annotated[None, Depends(second)]

    with pytest.raises(InvalidHandler, match=r"circle: .*first → .*second → .*first"):
        sio.on("chat.send", second, dependencies=[Depends(first)])


def test_an_annotation_that_is_not_defined_is_refused(sio: AsyncServer) -> None:
    async def handler(message) -> None: ...  # type: ignore[no-untyped-def]

    handler.__annotations__["message"] = "Nowhere"

    with pytest.raises(InvalidHandler, match="Nowhere"):
        sio.on("chat.send", handler)


def test_a_class_that_does_not_tell_its_parameters_is_no_dependency(sio: AsyncServer) -> None:
    with pytest.raises(InvalidHandler, match="int does not tell"):
        sio.on("chat.send", no_callable)


def test_a_limit_that_would_not_be_kept_is_refused(sio: AsyncServer) -> None:
    limited = fastapi.params.Depends(unlimited, max_concurrency=1)

    with pytest.raises(InvalidHandler, match="unlimited: max_concurrency"):
        sio.on("chat.send", plain, dependencies=[limited])


async def unlimited() -> None: ...


def test_generators_are_no_handlers_and_decorated_ones_no_dependencies(sio: AsyncServer) -> None:
    async def generator(number: int) -> AsyncIterator[int]:
        yield number

    @asynccontextmanager
    async def manager() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(InvalidHandler, match="is a generator"):
        sio.on("chat.send", generator)
    with pytest.raises(InvalidHandler, match="decorated generator"):
        sio.on("chat.send", no_marker, dependencies=[Depends(manager)])


@pytest.mark.parametrize(
    "event", ["connect_error", "disconnecting", "newListener", "removeListener"]
)
def test_reserved_names_are_no_events(sio: AsyncServer, event: str) -> None:
    with pytest.raises(InvalidHandler, match="reserved"):
        sio.on(event, no_marker)


def test_a_connect_that_may_refuse_needs_clients_to_wait_for_it() -> None:
    sio = AsyncServer(always_connect=True)

    with pytest.raises(InvalidHandler, match="always_connect"):

        @sio.event
        async def connect(environ: Environ) -> None: ...


# --- stored -------------------------------------------------------------------------------------


async def plain(sid, data): ...  # type: ignore[no-untyped-def]
async def plain_text(sid: str, *args: Any) -> None: ...
def plain_function(sid, a, b=None): ...  # type: ignore[no-untyped-def]
async def plain_connect(sid: str, environ: dict[str, Any], auth=None) -> None: ...  # type: ignore[no-untyped-def]
async def plain_disconnect(sid, reason): ...  # type: ignore[no-untyped-def]
async def plain_event(event, sid, data): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("event", "handler"),
    [
        ("send", plain),
        ("send", plain_text),
        ("send", plain_function),
        ("connect", plain_connect),
        ("disconnect", plain_disconnect),
        ("*", plain_event),
    ],
)
def test_a_handler_without_markers_is_stored_untouched(
    sio: AsyncServer, event: str, handler: Any
) -> None:
    sio.on(event, handler)

    assert sio.handlers["/"][event] is handler


async def test_the_decorator_returns_the_function(sio: AsyncServer) -> None:
    async def handle(message: Message) -> str:
        return message.text

    decorated = sio.on("first")(sio.on("second")(handle))

    assert decorated is handle
    assert sio.event(handle) is handle
    assert sio.event(namespace="/there")(handle) is handle
    assert await handle(Message(text="a", room="b", number=1)) == "a"
    async with SocketTestClient(sio) as client:
        for event in ("first", "second", "handle"):
            assert await client.call(event, {"text": "a", "room": "b", "number": 1}) == "a"


async def test_a_handler_without_parameters_runs(sio: AsyncServer) -> None:
    @sio.event
    async def ping() -> str:
        return "pong"

    async with SocketTestClient(sio) as client:
        assert await client.call("ping") == "pong"
        assert await client.call("ping", "ignored") == "pong"


async def test_partials_instances_methods_and_wrapped_functions_are_handlers(
    sio: AsyncServer,
) -> None:
    class Greeter:
        async def __call__(self, name: str) -> str:
            return f"hi {name}"

        async def method(self, name: str) -> str:
            return f"hello {name}"

    async def greet(greeting: str, name: str) -> str:
        return f"{greeting} {name}"

    def twice(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return 2 * await function(*args, **kwargs)

        return wrapper

    sio.on("instance", Greeter())
    sio.on("method", Greeter().method)
    sio.on("partial", functools.partial(greet, "hey"))
    sio.on("wrapped", twice(Greeter().method))

    async with SocketTestClient(sio) as client:
        assert await client.call("instance", "Ada") == "hi Ada"
        assert await client.call("method", "Ada") == "hello Ada"
        assert await client.call("partial", "Ada") == "hey Ada"
        assert await client.call("wrapped", "Ada") == "hello Adahello Ada"


async def test_annotations_may_be_strings(sio: AsyncServer) -> None:
    string_annotations.register(sio)

    async with SocketTestClient(sio) as client:
        assert await client.call("send", {"text": "hi"}) == ["hi", True]


async def test_keyword_parameters_and_defaults_of_dependencies_are_kept(sio: AsyncServer) -> None:
    async def dependency(a: int = 1, *, sid: SID, b: int = 2) -> Any:
        return [a, bool(sid), b]

    @sio.event
    async def what(number: int, *, value: Annotated[Any, Depends(dependency)]) -> Any:
        return [number, value]

    async with SocketTestClient(sio) as client:
        assert await client.call("what", 7) == [7, [1, True, 2]]


# --- namespaces and routers ---------------------------------------------------------------------


async def test_methods_of_a_namespace_are_handlers() -> None:
    calls: list[str] = []

    async def note(sid: SID) -> None:
        calls.append("guard")

    class Chat(AsyncNamespace):
        dependencies = (Depends(note),)

        async def on_connect(self, sid: SID, environ: Environ) -> None:
            calls.append("connect")

        async def on_send(self, message: Message) -> str:
            await self.emit("sent", message, to=None)
            return message.text

        async def on_disconnect(self, reason: Reason) -> None:
            calls.append(reason)

    sio = AsyncServer()
    sio.register_namespace(Chat("/chat"))

    async with SocketTestClient(sio, namespace="/chat") as client:
        message = {"text": "hi", "room": "r", "number": 1}
        assert await client.call("send", message) == "hi"
        assert await client.receive("sent") == message
        assert (await client.call("send", {}))["error"]["code"] == 1007
        assert (await client.receive("error"))["event"] == "send"
        assert (await client.call("other"))["error"]["code"] == 1003
    assert calls == ["guard", "connect", "guard", "guard", "transport close"]


async def test_dependencies_of_a_namespace_guard_who_joins_it_without_a_connect_too(
    sio: AsyncServer,
) -> None:
    async def deny() -> None:
        raise PermissionError

    class Closed(AsyncNamespace):
        dependencies = (Depends(deny),)

        async def on_send(self, number: int) -> None: ...

    sio.exception_handler(PermissionError)(lambda _: denied())
    sio.register_namespace(Closed("/closed"))

    with pytest.raises(ConnectionRefused):
        async with SocketTestClient(sio, namespace="/closed"):
            pass


async def test_dependencies_of_the_server_guard_classes_without_a_connect() -> None:
    async def deny() -> None:
        raise PermissionError

    class Chat(AsyncNamespace):
        async def on_send(self, number: int) -> None: ...

    sio = AsyncServer(dependencies=[Depends(deny)])
    sio.exception_handler(PermissionError)(lambda _: denied())
    sio.register_namespace(Chat("/chat"))

    with pytest.raises(ConnectionRefused):
        async with SocketTestClient(sio, namespace="/chat"):
            pass


async def test_a_guard_cannot_keep_a_disconnect_from_running() -> None:
    is_expired = False
    left: list[str] = []

    async def not_expired() -> None:
        if is_expired:
            raise PermissionError

    sio = AsyncServer(dependencies=[Depends(not_expired)])
    router = SocketRouter(dependencies=[Depends(not_expired)])

    @router.event
    async def disconnect(reason: Reason) -> None:
        left.append(reason)

    sio.include_router(router)

    async with SocketTestClient(sio):
        is_expired = True
    assert left == ["transport close"]


async def test_wrong_methods_are_refused_by_name(sio: AsyncServer) -> None:
    class Wrong(AsyncNamespace):
        async def on_send(self, user: User) -> None: ...

    with pytest.raises(InvalidHandler, match="send of /chat: parameter 'user' of "):
        sio.register_namespace(Wrong("/chat"))


def test_a_namespace_of_python_socketio_has_no_dependencies(sio: AsyncServer) -> None:
    class Theirs(socketio.AsyncNamespace):  # type: ignore[misc]
        async def on_send(self, message: Message) -> None: ...

    with pytest.raises(InvalidHandler, match="/chat: only classes"):
        sio.register_namespace(Theirs("/chat"))


async def test_routers_share_prefix_namespace_and_dependencies(sio: AsyncServer) -> None:
    log: list[str] = []

    def note(name: str) -> Any:
        async def dependency() -> None:
            log.append(name)

        return Depends(dependency)

    inner = SocketRouter(prefix="message.", dependencies=[note("inner")])
    outer = SocketRouter(prefix="chat.", namespace="/chat", dependencies=[note("outer")])

    @inner.on("send", dependencies=[note("own")])
    async def send(number: int) -> int:
        return number

    @inner.event
    async def connect(environ: Environ) -> None:
        log.append("connect")

    outer.include_router(inner)
    sio.include_router(outer, prefix="v1.", dependencies=[note("include")])

    async with SocketTestClient(sio, namespace="/chat") as client:
        assert log == ["include", "outer", "inner", "connect"]
        log.clear()
        assert await client.call("v1.chat.message.send", 3) == 3
        assert log == ["include", "outer", "inner", "own"]


async def test_dependencies_of_the_server_guard_every_event_and_every_connection() -> None:
    async def members_only(connection_sid: SID) -> None:
        raise PermissionError

    sio = AsyncServer(dependencies=[Depends(members_only)])
    sio.exception_handler(PermissionError)(lambda _: denied())

    @sio.event
    async def plain(sid, data): ...  # type: ignore[no-untyped-def]

    with pytest.raises(ConnectionRefused) as refused:
        async with SocketTestClient(sio):
            pass
    assert refused.value.data["data"]["code"] == 1008

    sio.dependency_overrides[members_only] = lambda: None
    async with SocketTestClient(sio) as client:
        del sio.dependency_overrides[members_only]
        assert (await client.call("plain", 1))["error"]["code"] == 1008


def denied() -> Any:
    from entrypoints.socketio.errors import Code, SocketError  # noqa: PLC0415

    return SocketError(Code.NOT_ALLOWED, "members only")


# --- cost ---------------------------------------------------------------------------------------


async def user(sid: SID) -> str:
    return sid


async def session() -> AsyncIterator[str]:
    yield "session"


async def with_user(message: Message, user: str = Depends(user)) -> Message:
    return message


async def with_session(
    message: Message,
    user: Annotated[str, Depends(user)],
    session: Annotated[str, Depends(session)],
) -> Message:
    return message


@pytest.mark.parametrize(("handler", "most"), [(with_user, 20), (with_session, 50)])
async def test_an_event_costs_few_python_calls(sio: AsyncServer, handler: Any, most: int) -> None:
    sio.on("send", handler)
    planned = sio.planned_handlers["/", "send"]
    message = ({"text": "a", "room": "b", "number": 1},)
    await planned.run("sid", "send", "/", message)

    calls = await calls_of(planned.run("sid", "send", "/", message))

    assert 0 < calls <= most


async def echo(sid, message):  # type: ignore[no-untyped-def]
    return message


@pytest.mark.parametrize("handler", [echo, with_user])
async def test_an_event_costs_no_more_calls_than_in_python_socketio(
    sio: AsyncServer, handler: Any
) -> None:
    """From Engine.IO's packet to the one with the ack: limits, checks and metrics are made up for elsewhere."""
    theirs = socketio.AsyncServer(async_mode="asgi")
    theirs.on("send", echo)
    sio.on("send", handler)

    ours_cost = await calls_of_an_event(sio, Socket(sio.eio, "eio"))
    their_cost = await calls_of_an_event(theirs, AsyncSocket(theirs.eio, "eio"))

    assert 0 < ours_cost <= their_cost * 1.1


async def calls_of_an_event(sio: Any, socket: AsyncSocket) -> int:
    sio.eio.sockets["eio"] = socket
    await sio.eio.handlers["connect"]("eio", {})
    await sio.eio.handlers["message"]("eio", "0")
    assert (await socket.queue.get()).data.startswith("0")

    async def event() -> None:
        await socket.receive(Packet(MESSAGE, '21["send",{"text":"a","room":"b","number":1}]'))
        assert (await socket.queue.get()).data.startswith("31[")

    await event()
    return await calls_of(event())


async def calls_of(work: Coroutine[Any, Any, object]) -> int:
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        await work
    finally:
        sys.setprofile(None)
    return calls


def test_a_synchronous_generator_is_a_dependency_too() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    sio = AsyncServer()
    sio.on("send", plain, dependencies=[Depends(numbers)])

    result = asyncio.run(sio.planned_handlers["/", "send"].run("sid", "send", "/", (1,)))
    assert result is None
