"""The API with Socket.IO on its port: handshakes, what is refused, and how a server stops."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
import pytest_asyncio
import socketio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from application.settings import CorsSettings, HttpSettings
from domain.identity import User
from entrypoints.api import create_api
from entrypoints.http.draining import Draining
from entrypoints.http.protocol import TimeoutProtocol
from entrypoints.socketio.limits import Limits
from entrypoints.socketio.protocol import WebSocketProtocol
from tests.support.builders import a_role, a_user
from tests.support.http_server import assert_problem, exchange, serving
from tests.support.realtime import GUARDED, fake
from tests.support.sockets import RawClient, Received, connected, raw
from tests.support.world import IN_MEMORY, World

# One server for all: to make one takes longer than most tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


class Hurried(TimeoutProtocol):
    timeout = 0.3


class Service:
    """A world, and its API on a port."""

    def __init__(self, world: World, port: int, api: Any) -> None:
        self.world = world
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.sio = api.realtime.sio
        self.draining: Draining = api.http.state.draining

    async def auth(self, user: User) -> dict[str, str]:
        _, tokens = await self.world.log_in_as(user)
        return {"token": tokens.access_token}


@asynccontextmanager
async def a_service(world: World, **changes: Any) -> AsyncIterator[Service]:
    api = create_api(container=world.container, socket_routers=[fake])
    async with serving(api, world.container.settings(), **changes) as port:
        yield Service(world, port, api)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Service]:
    async with a_service(World(), http=Hurried) as service:
        yield service


async def test_events_and_routes_are_on_one_port(service: Service) -> None:
    ada = await service.world.given(a_user(), a_role(GUARDED))

    async with connected(service.url, auth=await service.auth(ada)) as client:
        assert await client.call("fake.public") == "anybody"
        assert await client.call("fake.guarded", 7) == [str(ada.id), 7]
        answer = await exchange(
            service.port, LIVEZ.replace(b"x\r\n", b"x\r\nConnection: close\r\n")
        )
        assert answer.startswith(b"HTTP/1.1 200")


async def test_a_refused_client_learns_why(service: Service) -> None:
    client = socketio.AsyncClient(reconnection=False)
    refusals = Received(client, "connect_error")

    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(service.url, transports=["websocket"], auth={"token": "x"})

    assert (await refusals.next())["data"]["code"] == 1008


# --- handshakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        HANDSHAKE.replace(b"/socket.io/", b"/livez"),
        HANDSHAKE.replace(b"/socket.io/", b"/socket.io"),
        HANDSHAKE.replace(b"/socket.io/", b"/socket.io/x"),
        HANDSHAKE.replace(b"/socket.io/", b"/%73ocket.io/"),
        HANDSHAKE.replace(b"GET", b"POST"),
        HANDSHAKE.replace(b"GET", b"HEAD"),
        HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        HANDSHAKE.replace(b"Version: 13", b"Version: 12"),
        HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key"),
        HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
        HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: websocket, h2c"),
        HANDSHAKE.replace(b"Host: x", b"Host: x y"),
        HANDSHAKE.replace(b"Host: x", b"X: y"),
        HANDSHAKE + b"Host: y\r\n",
        HANDSHAKE + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
        HANDSHAKE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        HANDSHAKE + b"Content-Length: 4\r\n",
        HANDSHAKE + b"X-Long: " + b"x" * 10_000 + b"\r\n",
        HANDSHAKE + b"X-Many: x\r\n" * 200,
    ],
)
async def test_only_complete_handshakes_at_the_path_of_socketio_open_a_websocket(
    service: Service, request_: bytes
) -> None:
    answer = await exchange(service.port, request_ + b"\r\n")

    if request_.startswith(b"HEAD"):
        assert answer.startswith(b"HTTP/1.1 400 ")
    else:
        assert_problem(answer, 400, "http.malformed")


async def test_an_expect_header_in_a_handshake_changes_nothing(service: Service) -> None:
    answer = await asyncio.wait_for(
        _first_line(service.port, HANDSHAKE + b"Expect: 100-continue\r\n\r\n"), 5
    )

    assert answer.startswith(b"HTTP/1.1 101 ")


async def test_a_handshake_behind_another_request_is_refused(service: Service) -> None:
    """The answer to the first would be written into the other protocol."""
    answers = await exchange(service.port, LIVEZ + HANDSHAKE + b"\r\n")

    assert answers.startswith(b"HTTP/1.1 200")
    assert_problem(answers[answers.index(b"HTTP/1.1 400") :], 400, "http.malformed")


async def test_half_a_handshake_is_cut_off_in_time(service: Service) -> None:
    assert_problem(await exchange(service.port, HANDSHAKE), 408, "http.request_timeout")


@pytest.mark.parametrize("query", [b"EIO=3&transport=websocket", b"transport=websocket", b""])
async def test_a_handshake_that_socketio_refuses_gets_a_problem(
    service: Service, query: bytes
) -> None:
    request = HANDSHAKE.replace(b"EIO=4&transport=websocket", query)

    assert_problem(await exchange(service.port, request + b"\r\n"), 400, "http.malformed")


async def test_polling_is_no_transport_of_ours(service: Service) -> None:
    """Polls would have to reach the same process each time."""
    request = (
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )

    assert_problem(await exchange(service.port, request), 404, "http.not_found")


# --- origins ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "allowed", "is_accepted"),
    [
        ("http://evil.test", (), False),
        ("null", (), False),
        ("http://HOST", (), True),
        ("https://HOST", (), True),
        ("http://page.test", ("http://page.test",), True),
        ("http://HOST", ("http://page.test",), True),
        ("http://page.test.evil.test", ("http://page.test",), False),
        ("http://evil.test", ("*",), True),
    ],
)
async def test_only_pages_of_allowed_origins_connect(
    origin: str, allowed: tuple[str, ...], *, is_accepted: bool
) -> None:
    settings = World(
        type(IN_MEMORY)(
            environment=IN_MEMORY.environment,
            stores=IN_MEMORY.stores,
            http=HttpSettings(cors=CorsSettings(origins=allowed)),
        )
    )
    async with a_service(settings) as service:
        origin = origin.replace("HOST", f"127.0.0.1:{service.port}")
        url = f"ws://127.0.0.1:{service.port}/socket.io/?EIO=4&transport=websocket"
        if is_accepted:
            async with connect(url, additional_headers={"Origin": origin}) as connection:
                assert str(await connection.recv()).startswith("0{")
        else:
            with pytest.raises(InvalidStatus) as refused:
                async with connect(url, additional_headers={"Origin": origin}):
                    pass
            assert refused.value.response.status_code == 400
            assert json.loads(refused.value.response.body)["error"] == "http.malformed"


# --- the end of connections ---------------------------------------------------------------------


async def test_a_websocket_that_joins_no_namespace_is_closed(service: Service) -> None:
    limits = service.sio.limits
    service.sio.limits = Limits(connect_timeout=0.2)
    url = f"ws://127.0.0.1:{service.port}/socket.io/?EIO=4&transport=websocket"
    try:
        async with connect(url) as connection, asyncio.timeout(5):
            await connection.wait_closed()
    finally:
        service.sio.limits = limits


@asynccontextmanager
async def joined(service: Service) -> AsyncIterator[RawClient]:
    """Connect a client that answers nothing, and whose machine takes little for it."""
    auth = await service.auth(await service.world.given(a_user()))
    async with raw(service.url, join=False, receive_buffer=4096) as client:
        await client.send("40" + json.dumps(auth))
        assert str(await client.next()).startswith("40{")
        yield client


async def test_a_client_that_answers_no_ping_of_engine_io_is_cut_off() -> None:
    async with a_service(World()) as service:
        service.sio.eio.ping_interval = service.sio.eio.ping_timeout = 0.2
        async with joined(service) as client:
            await client.closed()
        async with asyncio.timeout(5):
            while service.sio.connection_count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_client_that_reads_nothing_is_cut_off_and_delays_no_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(WebSocketProtocol, "patience", 0.2)
    pings = {"ws_ping_interval": 0.3, "ws_ping_timeout": 0.3}
    async with a_service(World(), **pings) as service:
        service.sio.eio.limits = Limits(max_unsent_bytes=1_000_000)
        async with joined(service) as client:
            client.connection.transport.pause_reading()
            for _ in range(200):
                await service.sio.emit("news", secrets.token_bytes(100_000))
            async with asyncio.timeout(5):
                while service.sio.connection_count or _is_anything_served():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            client.connection.transport.resume_reading()
            with pytest.raises(ConnectionClosedError):
                await client.closed()


def _is_anything_served() -> bool:
    return any("WebSocketProtocol.run_asgi" in str(each.get_coro()) for each in asyncio.all_tasks())


async def test_the_sweep_reaches_who_only_listens(service: Service) -> None:
    ada = await service.world.given(a_user())
    async with connected(service.url, auth=await service.auth(ada)) as client:
        errors = Received(client, "error")
        await service.world.container.session_store().end_all(ada.id)

        async with asyncio.timeout(1):
            assert (await errors.next())["code"] == 1008


async def test_a_server_that_stops_says_so(world: World) -> None:
    ada = await world.given(a_user())
    async with a_service(world) as service:
        auth = await service.auth(ada)
        url = f"ws://127.0.0.1:{service.port}/socket.io/?EIO=4&transport=websocket"
        connection = await connect(url)
        await connection.recv()
        await connection.send("40" + json.dumps(auth))
        await connection.recv()
        assert service.sio.connection_count == 1

    with pytest.raises(ConnectionClosed) as closed:
        await connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert service.sio.connection_count == 0


async def test_clients_leave_one_after_the_other_while_the_process_drains() -> None:
    """So they find another process before this one stops, and not all of them in the same moment."""
    drain = timedelta(seconds=0.5)
    world = World(replace(IN_MEMORY, http=HttpSettings(drain=drain)))
    async with a_service(world) as service, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(joined(service)) for _ in range(8)]

        async def left(client: RawClient) -> float:
            with pytest.raises(ConnectionClosedError, match="1012"):  # Service Restart
                await client.closed()
            return monotonic()

        began = monotonic()
        service.draining.begin()
        left_at = sorted(await asyncio.gather(*map(left, clients)))

        assert left_at[0] < began + drain.total_seconds()
        assert left_at[-1] - left_at[0] > 0.05
        async with joined(service):  # a client that does not know of it is served all the same
            assert service.sio.connection_count == 1


async def _first_line(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        return await reader.readline()
    finally:
        writer.close()
