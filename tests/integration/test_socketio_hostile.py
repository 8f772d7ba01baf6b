"""Clients that do not keep to the protocol, over a real socket: they are refused or dropped, and harm no other."""

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from websockets.exceptions import ConnectionClosedError

from entrypoints.socketio.limits import Limits
from entrypoints.socketio.metrics import Metrics
from entrypoints.socketio.parameters import SID, Environ, Reason
from entrypoints.socketio.protocol import WebSocketProtocol
from entrypoints.socketio.server import AsyncServer
from tests.support.sockets import RawClient, Received, connected, raw, serving


class Counted(Metrics):
    """The reasons of dropped connections."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def dropped(self, reason: str) -> None:
        self.reasons.append(reason)


class Server:
    """A server with one echo, and what its connect and disconnect handlers were called with."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.metrics = Counted()
        self.sio = AsyncServer(limits=limits, metrics=self.metrics)
        self.connects: list[Any] = []
        self.disconnects: list[str] = []

        @self.sio.event
        async def connect(sid: SID, environ: Environ) -> None:
            self.connects.append(environ)

        @self.sio.event
        async def disconnect(sid: SID, reason: Reason) -> None:
            self.disconnects.append(reason)

        @self.sio.event
        async def echo(value: int) -> int:
            return value


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def url(server: Server) -> AsyncIterator[str]:
    async with serving(server.sio) as url:
        yield url


async def assert_unharmed(url: str) -> None:
    async with connected(url) as client:
        assert await client.call("echo", 7, timeout=5) == 7


async def test_reserved_names_sent_as_events_run_nothing(server: Server, url: str) -> None:
    async with raw(url) as client:
        for name in ("connect", "disconnect", "connect_error", "disconnecting", "newListener"):
            await client.send("421" + json.dumps([name, {"REMOTE_ADDR": "x"}, {"admin": True}]))

            event, error = await client.event()
            assert (event, error["code"], error["event"]) == ("error", 1003, name)
            assert json.loads(str(await client.next())[3:]) == [{"error": error}]
        assert len(server.connects) == 1
        assert server.disconnects == []
    await assert_unharmed(url)


INVALID: list[list[str | bytes]] = [
    ["4abc"],
    ["4"],
    ["49"],
    ["42"],
    ["42{}"],
    ["42[]"],
    ["42[{}]"],
    ["42[1]"],
    ['42["echo",NaN]'],
    ['42["echo",' + "[" * 100_000],
    ["42" + "1" * 200 + '["echo"]'],
    ["43[1]"],
    ["431{}"],
    ["44"],
    ['44{"message":"x"}'],
    ["40[]"],
    ['41{"a":1}'],
    ['421-["echo",{"_placeholder":true,"num":0}]'],
    ['4511-["echo"]'],
    ['459999-["echo"]'],
    ['451-["echo",{"_placeholder":true,"num":0}]', "4text"],
    ['451-["echo",{"_placeholder":true,"num":7}]', b"x"],
    ['451-["echo",{"_placeholder":true,"num":"a"}]', b"x"],
    ['451-/nowhere,["echo",{"_placeholder":true,"num":0}]'],
    [b"binary"],
    [""],
    ["x"],
    ["0"],
    ["2"],
    ["2probe"],
    ["3"],
    ["5"],
    ["6"],
    ["9"],
    ["bnot base64"],
]


async def test_an_invalid_packet_closes_the_connection(
    server: Server, url: str, subtests: pytest.Subtests
) -> None:
    for frames in INVALID:
        with subtests.test(str(frames)[:80]):
            server.metrics.reasons.clear()
            server.disconnects.clear()
            async with raw(url) as client:
                await client.send(*frames)
                await client.closed()

            assert server.metrics.reasons == ["invalid packet"]
            assert server.disconnects == ["transport error"]
            assert server.sio.eio.sockets == {}
            assert server.sio._binary_packet == {}
    await assert_unharmed(url)


async def test_a_message_that_is_too_large_closes_the_connection(server: Server, url: str) -> None:
    async with raw(url) as client:
        await client.send('42["echo","' + "x" * 1_000_000 + '"]')
        await client.closed()

    assert server.sio.eio.sockets == {}
    await assert_unharmed(url)


async def test_ten_attachments_are_taken() -> None:
    sio = AsyncServer()

    @sio.event
    async def sizes(values: list[bytes]) -> int:
        return sum(map(len, values))

    async with serving(sio) as url, connected(url) as client:
        assert await client.call("sizes", [b"12"] * 10, timeout=5) == 20


async def test_a_packet_without_attachments_need_not_wait_for_any(url: str) -> None:
    async with raw(url) as client:
        await client.send('450-7["echo",3]')
        assert await client.next() == "437[3]"


async def test_a_client_without_a_namespace_is_dropped_in_time() -> None:
    server = Server(Limits(connect_timeout=0.2))
    async with serving(server.sio) as url:
        async with raw(url, join=False) as silent, raw(url, join=False) as refused:
            await refused.send("40/nowhere,")
            assert str(await refused.next()).startswith("44/nowhere,")
            await silent.closed(2)
            await refused.closed(2)
        assert server.metrics.reasons == ["no namespace"] * 2

        async with raw(url) as client:
            await asyncio.sleep(0.4)
            await client.send('421["echo",1]')
            assert await client.next() == "431[1]"


async def test_a_client_that_answers_no_ping_is_cut() -> None:
    server = Server()
    eio = server.sio.eio
    eio.ping_interval = eio.ping_timeout = 0.1
    eio.start_service_task = False  # the task that asks all connections in turn
    async with serving(server.sio) as url, raw(url) as client:
        assert await client.next() == "2"
        await client.send("3")
        assert await client.next() == "2"
        await client.closed(2)
    assert server.disconnects == ["ping timeout"]


async def test_a_client_that_has_to_leave_is_dropped_if_it_stays() -> None:
    server = Server(Limits(connect_timeout=0.2))
    async with serving(server.sio) as url, raw(url) as client:
        [[sid, _]] = server.sio.manager.get_participants("/", None)
        await server.sio.disconnect(sid)
        assert await client.next() == "41"
        await client.closed(2)
    assert server.metrics.reasons == ["no namespace"]
    assert server.disconnects == ["server disconnect"]


async def test_a_flood_is_refused_and_then_dropped() -> None:
    server = Server(Limits(rate=1, burst=20))
    async with serving(server.sio) as url:
        async with raw(url) as client:
            await client.send(*['42["echo",1]'] * 30)
            event, error = await client.event()
            assert (event, error["code"]) == ("error", 1013)
            await client.send(*['42["echo",1]'] * 30)
            await client.closed()
        assert server.metrics.reasons == ["too fast"]
        await assert_unharmed(url)


async def test_a_burst_of_short_events_is_handled() -> None:
    """Each begins before the next is read, so that they are not too many at once."""
    server = Server(Limits(max_in_flight=5))
    async with serving(server.sio) as url, raw(url) as client:
        await client.send(*[f'42{number}["echo",1]' for number in range(100)])
        for number in range(100):
            assert await client.next() == f"43{number}[1]"


async def test_a_large_packet_counts_as_many_small_ones() -> None:
    server = Server(Limits(rate=1, burst=12))
    async with serving(server.sio) as url:
        async with raw(url) as client:
            await client.send('42["echo",' + "[]," * 100_000 + "1]")
            assert (await client.event())[1]["code"] == 1013
            await client.send('42["echo",' + "[]," * 100_000 + "1]")
            await client.closed()
        assert server.metrics.reasons == ["too fast"]
        await assert_unharmed(url)


FRAMES = {
    "pings": bytes([0x89, 0x80, 0, 0, 0, 0]),
    "pongs": bytes([0x8A, 0x80, 0, 0, 0, 0]),
    "fragments": bytes([0x00, 0x80, 0, 0, 0, 0]),
}
"""Frames by hand, masked with zeros: no client library sends so many in one piece."""


@pytest.mark.parametrize("kind", FRAMES)
async def test_a_flood_of_frames_is_cut(kind: str) -> None:
    server = Server()
    begin = bytes([0x01, 0x81, 0, 0, 0, 0]) + b"4" if kind == "fragments" else b""
    async with serving(server.sio, ws=WebSocketProtocol) as url, raw(url) as client:
        client.connection.transport.write(begin + FRAMES[kind] * 40_000)
        with pytest.raises(ConnectionClosedError, match="too many frames"):
            await client.closed()
        await assert_unharmed(url)
    assert server.metrics.reasons == ["too many frames"]


async def test_a_packet_for_a_client_that_went_is_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    caplog.set_level(logging.WARNING, "engineio.server")  # as in production
    async with serving(server.sio) as url:
        async with raw(url):
            (eio_sid,) = server.sio.eio.sockets
        while server.sio.connection_count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await server.sio.eio.send(eio_sid, "late")

    assert [each for each in caplog.records if each.levelno > logging.INFO] == []


async def test_a_mistake_of_a_client_is_no_error_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    headers = {"Origin": "https://evil.example"}
    async with serving(server.sio, ws=WebSocketProtocol) as url:
        async with aiohttp.ClientSession(headers=headers) as http:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await http.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket")
        async with raw(url) as client:
            client.connection.transport.write(bytes([0x81, 0x82, 0, 0, 0, 0, 0xFF, 0xFE]))
            with pytest.raises(ConnectionClosedError):
                await client.closed()

    noticed = [each for each in caplog.records if each.levelno > logging.INFO]
    assert [each for each in noticed if each.name.startswith("uvicorn")] == []


async def test_acks_without_a_waiting_call_are_ignored(
    server: Server, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw(url) as client:
        [[sid, _]] = server.sio.manager.get_participants("/", None)
        await client.send("430[]", "431[1]", "439999[1]", '421["echo",1]')
        assert await client.next() == "431[1]"
        waiting = asyncio.create_task(server.sio.call("question", to=sid, timeout=5))
        assert await client.next() == '421["question"]'
        await client.send("430[]", '431["answer"]')
        assert await waiting == "answer"
        await client.send('421["echo",1]')
        assert await client.next() == "431[1]"
    assert "callback" not in caplog.text


async def test_an_event_after_the_disconnect_runs_nothing() -> None:
    server = Server(Limits(rate=1, burst=5))
    async with serving(server.sio) as url, raw(url) as client:
        await client.send(*['42["echo",1]'] * 20, "40", "40/", "4abc")
        await client.closed()
    assert server.metrics.reasons == ["too fast"]
    assert len(server.connects) == 1
    assert server.disconnects == ["transport error"]


async def test_a_refused_event_has_its_ack_completed() -> None:
    server = Server(Limits(rate=1, burst=3))
    async with serving(server.sio) as url, connected(url) as client:
        acks = [await client.call("echo", 1, timeout=5) for _ in range(4)]

    assert acks[:2] == [1, 1]
    assert acks[3]["error"]["code"] == 1013


async def test_events_in_flight_are_bounded() -> None:
    sio = AsyncServer(limits=Limits(max_in_flight=5))
    running = most = 0
    go_on = asyncio.Event()

    @sio.event
    async def slow(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        return number

    async with serving(sio) as url, connected(url) as client:
        errors = Received(client, "error")
        acks: asyncio.Queue[Any] = asyncio.Queue()
        for number in range(8):
            await client.emit("slow", number, callback=acks.put)
        for _ in range(3):
            assert (await errors.next())["code"] == 1013
        go_on.set()
        answers = [await asyncio.wait_for(acks.get(), 5) for _ in range(8)]
        assert sorted(answer for answer in answers if isinstance(answer, int)) == [0, 1, 2, 3, 4]
        assert await client.call("slow", 9, timeout=5) == 9
    assert most == 5


async def test_a_client_that_reads_nothing_is_dropped_and_others_get_everything() -> None:
    server = Server(Limits(max_unsent_bytes=1_000_000))
    news = secrets.token_bytes(100_000)  # nothing that could be compressed
    async with (
        serving(server.sio) as url,
        raw(url, receive_buffer=4096) as lazy,
        connected(url) as reader,
    ):
        received = Received(reader, "news")
        lazy.connection.transport.pause_reading()
        for _ in range(100):
            await server.sio.emit("news", news)
            await received.next()
            assert server.sio.unsent_bytes() <= 1_500_000
        assert server.metrics.reasons == ["slow reader"]
        assert server.sio.connection_count == 1
        assert server.disconnects == ["transport error"]
        lazy.connection.transport.abort()


def is_anything_served() -> bool:
    return any("run_asgi" in str(task.get_coro()) for task in asyncio.all_tasks())


async def test_a_connection_that_reads_nothing_does_not_outlive_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(WebSocketProtocol, "patience", 0.2)
    server = Server(Limits(max_unsent_bytes=1_000_000))
    options = {"ws_ping_interval": 0.5, "ws_ping_timeout": 0.5, "ws": WebSocketProtocol}
    async with serving(server.sio, **options) as url, raw(url, receive_buffer=4096) as lazy:
        lazy.connection.transport.pause_reading()
        for _ in range(200):
            await server.sio.emit("news", secrets.token_bytes(100_000))
        async with asyncio.timeout(5):
            while server.sio.connection_count or is_anything_served():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        lazy.connection.transport.resume_reading()
        with pytest.raises(ConnectionClosedError):
            await lazy.closed()


# --- polling ------------------------------------------------------------------------------------


class Polling:
    """A client that polls, by hand."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self.query = "EIO=4&transport=polling"

    async def open(self) -> None:
        opened = await self.get()
        self.query += f"&sid={json.loads(opened[1:])['sid']}"

    async def get(self) -> str:
        async with self._http.get(f"{self._url}/socket.io/?{self.query}") as answer:
            return f"{answer.status}" if answer.status != 200 else await answer.text()

    async def post(self, body: str | bytes) -> int:
        async with self._http.post(f"{self._url}/socket.io/?{self.query}", data=body) as answer:
            return answer.status


@asynccontextmanager
async def upgrading(url: str) -> AsyncIterator[tuple[Polling, aiohttp.ClientWebSocketResponse]]:
    """Yield a client that polls, and the WebSocket by which it is going to go on."""
    async with aiohttp.ClientSession() as http:
        client = Polling(http, url)
        await client.open()
        await client.post("40")
        await client.get()
        address = f"{url}/socket.io/?{client.query.replace('polling', 'websocket')}"
        async with http.ws_connect(address) as socket:
            yield client, socket


async def is_ended(socket: aiohttp.ClientWebSocketResponse) -> bool:
    received = await socket.receive(timeout=2)
    return received.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}


async def test_an_invalid_payload_of_a_poll_ends_the_session(
    server: Server, url: str, subtests: pytest.Subtests
) -> None:
    async with aiohttp.ClientSession() as http:
        for body in ("4abc", "x", "\x1e".join(["2"] * 17), b"\xff\xfe", "4", "42[]"):
            with subtests.test(str(body)):
                server.disconnects.clear()
                client = Polling(http, url)
                await client.open()
                await client.post("40")
                await client.get()

                await client.post(body)

                assert await client.get() == "400"
                assert server.disconnects == ["transport error"]
                assert server.sio.eio.sockets == {}
    await assert_unharmed(url)


async def test_a_client_that_leaves_while_it_is_let_in_is_not_kept() -> None:
    sio = AsyncServer()
    entered = asyncio.Event()
    go_on = asyncio.Event()
    disconnects: list[str] = []

    @sio.event
    async def connect(sid: SID, environ: Environ) -> None:
        entered.set()
        await go_on.wait()

    @sio.event
    async def disconnect(sid: SID, handshake: HTTPConnection) -> None:
        assert handshake.url.path == "/socket.io/"
        disconnects.append(sid)

    async with serving(sio) as url, aiohttp.ClientSession() as http:
        client = Polling(http, url)
        await client.open()
        joining = asyncio.create_task(client.post("40"))
        await entered.wait()
        await client.post("1")
        go_on.set()
        await joining

        assert sio.manager.rooms == {}
        assert len(disconnects) == 1
        assert sio.connection_count == 0
        assert sio.environ == {}


async def test_an_upgrade_of_a_session_that_was_closed_meanwhile_ends() -> None:
    server = Server()
    async with serving(server.sio) as url, upgrading(url) as (client, socket):
        polling = asyncio.create_task(client.get())
        await socket.send_str("2probe")
        assert (await socket.receive(timeout=2)).data == "3probe"
        await polling
        polling = asyncio.create_task(client.get())
        await asyncio.sleep(0.1)  # it waits for a packet, and takes the end of the session
        await client.post("1")
        await polling
        await socket.send_str("5")
        assert await is_ended(socket)


async def test_an_upgrade_that_does_not_go_on_is_given_up() -> None:
    server = Server(Limits(upgrade_timeout=0.2))
    async with serving(server.sio) as url, upgrading(url) as (client, silent):
        assert await is_ended(silent)
        assert await client.post('421["echo",5]') == 200
        assert await client.get() == "431[5]"


async def test_a_page_of_another_origin_may_not_connect(url: str) -> None:
    async with aiohttp.ClientSession(headers={"Origin": "https://evil.example"}) as http:
        address = f"{url}/socket.io/?EIO=4&transport"
        async with http.get(f"{address}=polling") as answer:
            assert answer.status == 400
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(f"{address}=websocket")


class Message(BaseModel):
    text: str


async def test_a_raw_client_gets_the_documented_error_and_nothing_else() -> None:
    sio = AsyncServer()

    @sio.on("chat.send")
    async def send(message: Message) -> None: ...

    async with serving(sio) as url, raw(url) as client:
        await client.send('427["chat.send",{}]')
        error = {
            "code": 1007,
            "event": "chat.send",
            "message": "Data Validation Error.",
            "data": "text field required",
        }
        assert await client.event() == ["error", error]
        assert json.loads(str(await client.next()).removeprefix("437")) == [{"error": error}]
        assert isinstance(client, RawClient)
