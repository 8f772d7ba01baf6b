"""`AsyncServer` over a real socket, with python-socketio's own client."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import aiohttp
import psutil
import pytest
import socketio
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from structlog.testing import capture_logs

from entrypoints.socketio.limits import Limits
from entrypoints.socketio.namespace import AsyncNamespace
from entrypoints.socketio.parameters import SID, Depends, Environ, Reason
from entrypoints.socketio.server import AsyncServer
from tests.support.sockets import Received, connected, raw, serving


class ChatMessage(BaseModel):
    text: str
    room: str


async def get_current_user(sid: SID) -> str:
    return f"user {len(sid)}"


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Keep the tracebacks of handlers that have to fail."""
    with capture_logs():
        yield


@pytest.fixture
def sio() -> AsyncServer:
    return AsyncServer()


async def test_a_handler_with_a_payload_and_a_dependency(sio: AsyncServer) -> None:
    @sio.on("chat.send")
    async def handle(message: ChatMessage, user: str = Depends(get_current_user)) -> None:
        await sio.emit("chat.receive", {"user": user, "text": message.text}, room=message.room)

    async with serving(sio) as url, connected(url) as client:
        received, errors = Received(client, "chat.receive"), Received(client, "error")
        await client.emit("chat.send", {"text": "hi", "room": client.get_sid()})
        assert await received.next() == {"user": "user 20", "text": "hi"}

        await client.emit("chat.send", {"room": client.get_sid()})
        assert await errors.next() == {
            "code": 1007,
            "event": "chat.send",
            "message": "Data Validation Error.",
            "data": "text field required",
        }


async def test_a_connect_handler_with_the_id_and_the_environment(sio: AsyncServer) -> None:
    given: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    @sio.event
    async def connect(sid: SID, environ: Environ) -> None:
        given.put_nowait((sid, environ["REQUEST_METHOD"]))

    async with serving(sio) as url, connected(url) as client:
        assert given.get_nowait() == (client.get_sid(), "GET")


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
async def test_acks_errors_and_binary_work_over_every_transport(
    sio: AsyncServer, transports: list[str]
) -> None:
    @sio.event
    async def reverse(data: bytes, note: dict[str, int]) -> Any:
        return data[::-1], note

    async with serving(sio) as url, connected(url, transports=transports) as client:
        assert await client.call("reverse", (b"\x00\x01", {"a": 1}), timeout=5) == (
            b"\x01\x00",
            {"a": 1},
        )
        ack = await client.call("reverse", ("text", {"a": 1}), timeout=5)
        assert ack["error"]["code"] == 1007
        ack = await client.call("unknown", timeout=5)
        assert ack["error"]["code"] == 1003
        assert client.transport() == transports[-1]


async def test_a_refused_client_can_read_why(sio: AsyncServer) -> None:
    class LogIn(BaseModel):
        token: str

    @sio.event
    async def connect(auth: LogIn) -> bool:
        return auth.token == "right"

    async with serving(sio) as url:
        client = socketio.AsyncClient(reconnection=False)
        refusals = Received(client, "connect_error")
        for auth, code in (({"token": "wrong"}, 1008), ({}, 1007), (None, 1007)):
            with pytest.raises(socketio.exceptions.ConnectionError):
                await client.connect(url, auth=auth, transports=["websocket"], wait_timeout=5)
            assert (await refusals.next())["data"]["code"] == code
        assert not sio.manager.rooms
        async with connected(url, auth={"token": "right"}) as accepted:
            assert accepted.connected


async def test_namespaces_have_handlers_and_errors_of_their_own(sio: AsyncServer) -> None:
    class Chat(AsyncNamespace):
        async def on_send(self, message: ChatMessage) -> str:
            return message.text

    sio.register_namespace(Chat("/chat"))

    @sio.on("*")
    async def anything(event: str, sid: str, number: int) -> Any:
        return [event, number]

    async with serving(sio) as url, connected(url, namespaces=["/", "/chat"]) as client:
        errors = Received(client, "error", namespace="/chat")
        message = {"text": "hi", "room": "r"}
        assert await client.call("send", message, namespace="/chat", timeout=5) == "hi"
        await client.emit("send", {}, namespace="/chat")
        assert (await errors.next())["code"] == 1007
        assert await client.call("any", 3, timeout=5) == ["any", 3]


async def test_events_run_side_by_side_or_in_order(sio: AsyncServer) -> None:
    done: list[int] = []

    async def work(number: int) -> int:
        await asyncio.sleep(0.02 if number == 0 else 0)
        done.append(number)
        return number

    sio.on("unordered", work)
    sio.on("ordered", work, ordered=True)

    async with serving(sio) as url, connected(url) as client:
        acks: asyncio.Queue[Any] = asyncio.Queue()
        for event, expected in (("unordered", [1, 2, 0]), ("ordered", [0, 1, 2])):
            done.clear()
            for number in range(3):
                await client.emit(event, number, callback=acks.put)
            for _ in range(3):
                await asyncio.wait_for(acks.get(), 5)
            assert done == expected


async def test_an_event_is_one_task(sio: AsyncServer) -> None:
    """python-engineio has two more, to wait for the packet and for its ack."""
    sio.on("echo", lambda _sid, number: number)
    loop = asyncio.get_running_loop()
    async with serving(sio) as url, raw(url) as client:
        created: list[str] = []

        def create(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
            created.append(work.__qualname__)
            return asyncio.Task(work, loop=loop, **options)

        loop.set_task_factory(create)
        try:
            for number in range(5):
                await client.send(f'42{number}["echo",1]')
                assert await client.next() == f"43{number}[1]"
        finally:
            loop.set_task_factory(None)
    assert created == [created[0]] * 5


async def test_handlers_see_the_handshake_and_the_application() -> None:
    app = FastAPI()
    app.state.motto = "hello"
    sio = AsyncServer(app=app)

    async def motto(connection: HTTPConnection) -> str:
        return f"{connection.app.state.motto} {connection.headers['x-name']}"

    @sio.event
    async def greet(text: Annotated[str, Depends(motto)]) -> str:
        return text

    async with serving(sio) as url, connected(url, headers={"X-Name": "Ada"}) as client:
        assert await client.call("greet", timeout=5) == "hello Ada"


async def test_outside_of_fastapi_a_poll_has_one_cors_header() -> None:
    origin = "https://app.example"
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=[origin])

    @app.get("/here")
    async def here() -> str:
        return "here"

    sio = AsyncServer(cors_allowed_origins=[origin])
    asgi = socketio.ASGIApp(sio, other_asgi_app=app)

    async with serving(sio, app=asgi) as url, aiohttp.ClientSession() as http:
        for path in ("/socket.io/?EIO=4&transport=polling", "/here"):
            async with http.get(url + path, headers={"Origin": origin}) as answer:
                assert answer.status == 200
                assert answer.headers.getall("Access-Control-Allow-Origin") == [origin]


async def test_every_teardown_runs_however_clients_disconnect() -> None:
    sio = AsyncServer(limits=Limits(rate=1e6, burst=10**6, max_in_flight=10**6))
    opened = closed = joined = left = 0

    async def resource() -> AsyncIterator[None]:
        nonlocal opened, closed
        opened += 1
        try:
            await asyncio.sleep(0)
            yield
        finally:
            await asyncio.sleep(0)
            closed += 1

    @sio.event
    async def connect(environ: Environ) -> None:
        nonlocal joined
        joined += 1

    @sio.event
    async def disconnect(reason: Reason, _: Annotated[None, Depends(resource)]) -> None:
        nonlocal left
        left += 1

    @sio.event
    async def work(number: int, _: Annotated[None, Depends(resource)]) -> float:
        await asyncio.sleep(0.001 if number % 2 else 0)
        return 1 / (number % 5)

    process = psutil.Process()
    async with serving(sio) as url:
        async with connected(url):
            pass
        gc.collect()
        tasks, files = len(asyncio.all_tasks()), process.num_fds()

        async def use(*, waits: bool) -> None:
            async with connected(url) as client:
                for number in range(50):
                    await client.emit("work", number)
                if waits:
                    await client.call("work", 1, timeout=5)

        await asyncio.gather(*(use(waits=number % 2 == 0) for number in range(20)))
        async with asyncio.timeout(5):
            while opened != closed or left != joined or len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        assert joined == 21
        assert opened > 300
        assert process.num_fds() <= files
        assert (sio.connection_count, sio.unsent_bytes()) == (0, 0)
        assert not sio.manager.rooms
        assert not sio.environ
        assert not sio.eio.sockets
