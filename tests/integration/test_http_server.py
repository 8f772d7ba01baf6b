"""The HTTP application over real sockets, and over real stores."""

import asyncio
import json
import logging
import re
import socket
import struct
import sys
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
import structlog
import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

import bootstrap
from application.metrics import DEPENDENCY_UP
from application.ports.metrics import Reading
from application.settings import (
    Environment,
    JobSettings,
    MongoSettings,
    PasswordSettings,
    PostgresSettings,
    RedisSettings,
    Registration,
    S3Settings,
    Settings,
)
from entrypoints.http.app import create_app
from entrypoints.http.envelope import Envelope
from entrypoints.http.protocol import TimeoutProtocol
from entrypoints.http.security import PublicRoute
from tests.support.http_server import assert_problem, exchange, serving
from tests.support.keys import key_settings
from tests.support.plain_http import NO_TLS
from tests.support.servers import Servers
from tests.support.world import IN_MEMORY, World

PASSWORD = "correct horse battery staple"
NEW_PASSWORD = "purple elephants dance at noon"


# --- over real sockets --------------------------------------------------------------------------


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(create_app(container=World().container), IN_MEMORY) as port:
        yield port


async def test_head_has_the_headers_of_get_and_nothing_after_them(port: int) -> None:
    head = await exchange(port, b"HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    headers, _, content = head.partition(b"\r\n\r\n")
    assert headers.startswith(b"HTTP/1.1 200")
    assert b"content-length: 64" in headers
    assert content == b""


async def test_the_server_does_not_say_what_it_is(port: int) -> None:
    answer = await exchange(port, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert b"uvicorn" not in answer.lower()


async def test_a_chunked_body_is_cut_off_at_the_limit(port: int) -> None:
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"

    answer = await exchange(
        port,
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        *[chunk] * 17,
        b"0\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "http.too_large"


async def test_a_client_that_disconnects_in_the_middle_of_its_body_harms_no_other(
    port: int,
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"username": '
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS) as client:
        assert (await client.get("/livez")).status_code == 200


async def test_an_expected_continue_is_given_only_to_those_who_are_read(port: int) -> None:
    answer = await exchange(
        port,
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n",
        b"{}",
    )

    assert answer.startswith(b"HTTP/1.1 100 Continue")
    assert b"HTTP/1.1 422" in answer


STRANGER = b"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"


async def test_a_stranger_is_refused_without_a_wait_for_their_body(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(STRANGER % (b"", 4))
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        writer.write(b"{bad" + LAST)  # the connection can still be used
        assert statuses(await reader.read()) == [200]
    writer.close()


async def test_a_stranger_who_asks_first_whether_to_send_a_body_is_refused_at_once(
    port: int,
) -> None:
    """The connection ends with it: what follows may be that body or another request."""
    answers = await exchange(port, STRANGER % (b"Expect: 100-continue\r\n", 4) + LIVEZ)

    assert_problem(answers, 401, "sessions.not_authenticated")


class Hurried(TimeoutProtocol):
    timeout = 0.4
    min_rate = 100


@pytest.fixture
async def hurried_port() -> AsyncIterator[int]:
    app = create_app(container=World().container)
    async with serving(app, IN_MEMORY, http=Hurried) as port:
        yield port


HEAD = (
    b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\n\r\n"
)


@pytest.mark.parametrize(
    "sent",
    [b"G", HEAD[:60], HEAD, HEAD + b"{", HEAD + b"{}".ljust(100) + b"GET /li"],
    ids=["a letter", "half a head", "no body", "half a body", "half of the next head"],
)
async def test_a_client_that_sends_part_of_a_request_is_disconnected(
    hurried_port: int, sent: bytes
) -> None:
    answer = await exchange(hurried_port, sent)

    last = b"HTTP/1.1 408" + answer.rpartition(b"HTTP/1.1 408")[2]
    assert_problem(last, 408, "http.request_timeout")


async def test_a_client_that_sends_nothing_is_disconnected_without_a_response(
    hurried_port: int,
) -> None:
    assert await exchange(hurried_port) == b""


async def test_a_trickle_is_no_request(hurried_port: int) -> None:
    """Every byte comes in time, and the whole would never end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hurried_port)
    writer.write(HEAD)
    sent = 0
    async with asyncio.timeout(5):
        while not reader.at_eof() and sent < 99:
            writer.write(b" ")
            sent += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(), 0.05)
    writer.close()

    assert 5 < sent < 99


async def test_a_large_body_has_the_time_that_its_size_takes(hurried_port: int) -> None:
    """A second for every 100 bytes here, so this one may take far longer than the patience."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hurried_port)
    writer.write(HEAD.replace(b"Length: 100", b"Length: 1000"))
    for _piece in range(10):
        writer.write(b" " * 100)
        await asyncio.sleep(0.12)
    async with asyncio.timeout(5):
        answer = await reader.readline()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 400")


UPGRADE = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
HANDSHAKE = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"


@pytest.mark.parametrize(
    "rest",
    [
        HANDSHAKE,
        b"\r\n",
        b"Content-Length: 1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1",
        b"X-Filler: %b\r\n\r\n" % (b"x" * 60_000),
        b"X-Filler: x\r\n" * 300 + b"\r\n",
    ],
    ids=["a handshake", "half of one", "no body", "half a body", "a large head", "many headers"],
)
async def test_a_change_to_another_protocol_is_refused_like_anything_else(
    hurried_port: int, rest: bytes
) -> None:
    answer = await exchange(hurried_port, UPGRADE % b"websocket" + rest)

    assert_problem(answer, 400, "http.malformed")


@pytest.mark.parametrize("rest", [b"", b"\r\nCont"], ids=["nothing more", "half a header"])
async def test_a_client_that_sends_half_a_handshake_is_disconnected(
    hurried_port: int, rest: bytes
) -> None:
    answer = await exchange(hurried_port, (UPGRADE % b"websocket").rstrip() + rest)

    assert_problem(answer, 408, "http.request_timeout")


async def test_half_a_handshake_holds_no_stop_up(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(create_app(container=World().container), IN_MEMORY) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((UPGRADE % b"websocket").rstrip())
        await exchange(port, LAST)  # by now the server has read that, too
    writer.close()

    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_another_protocol_is_not_taken_and_the_request_answered(hurried_port: int) -> None:
    """As RFC 9110 §7.8 allows; what follows may be of the other protocol, and is not read."""
    answer = await exchange(hurried_port, UPGRADE % b"h2c" + b"\r\n" + UPGRADE % b"h2c" + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1 ") == 1


# --- in line on one connection ------------------------------------------------------------------

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


async def test_a_hundred_requests_may_wait_in_line(port: int) -> None:
    assert statuses(await exchange(port, LIVEZ * 100 + LAST)) == [200] * 101


async def test_a_client_that_pipelines_too_much_is_answered_up_to_the_limit(port: int) -> None:
    answers = await exchange(port, LIVEZ * 2000)

    assert statuses(answers) == [200] * 101 + [429]
    last = b"HTTP/1.1 429" + answers.rpartition(b"HTTP/1.1 429")[2]
    assert_problem(last, 429, "http.too_many_requests")
    assert b"\r\nretry-after: 1\r\n" in last


class Counting(TimeoutProtocol):
    deepest = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        Counting.deepest = max(self.deepest, len(self.pipeline))


async def test_a_client_that_sends_faster_than_it_is_answered_has_to_wait() -> None:
    """However much they send, no more waits in memory than what came in one piece."""
    request = LIVEZ[:-2] + b"X-Filler: %b\r\n\r\n" % (b"x" * 4000)
    app = create_app(container=World().container)
    async with serving(app, IN_MEMORY, http=Counting) as port:
        answers = await exchange(port, *[request * 100] * 10, LAST)

    assert statuses(answers) == [200] * 1001
    assert 0 < Counting.deepest <= Counting.max_pipelined


@pytest.fixture
async def gate() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def gated_port(gate: asyncio.Event) -> AsyncIterator[int]:
    """Yield where `/fake/gated` reads the body of its request, and answers once the gate is open."""
    app = create_app(container=World().container)

    @app.post("/fake/gated", dependencies=[PublicRoute])
    async def gated(request: Request) -> Envelope[int]:
        body = asyncio.ensure_future(request.body())
        await gate.wait()
        return Envelope(data=len(await body))

    @app.get("/fake/streamed", dependencies=[PublicRoute])
    async def streamed() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"a"
            await gate.wait()  # Starlette asks meanwhile whether the client is still there
            yield b"b"

        return StreamingResponse(chunks())

    async with serving(app, IN_MEMORY) as port:
        yield port
        gate.set()


GATED = b"POST /fake/gated HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"GET /fake/streamed HTTP/1.1\r\nHost: x\r\n\r\n", LIVEZ),
        (GATED % 2 + b"{}" + GATED % 10**9, b" " * 32),
    ],
    ids=["requests behind a stream", "a body"],
)
async def test_a_pipelined_request_is_not_read_before_its_turn(
    gated_port: int, first: bytes, then: bytes
) -> None:
    """So that memory does not grow with what a client can send; what the system keeps for us is bounded."""
    _, writer = await asyncio.open_connection("127.0.0.1", gated_port)
    writer.transport.set_write_buffer_limits(high=0)
    writer.write(first)
    await writer.drain()
    sent = 0
    with suppress(TimeoutError):
        while sent < 50_000_000:
            writer.write(then * 2000)
            await asyncio.wait_for(writer.drain(), 0.3)
            sent += len(then) * 2000
    writer.transport.abort()

    assert sent < 20_000_000
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{gated_port}", verify=NO_TLS
    ) as client:
        started = time.monotonic()
        assert (await client.get("/livez")).status_code == 200
        assert time.monotonic() - started < 1


async def test_a_request_that_holds_up_a_stop_for_too_long_is_cancelled_with_an_answer(
    gate: asyncio.Event,
) -> None:
    app = create_app(container=World().container)
    begun = asyncio.Event()

    @app.get("/fake/gated", dependencies=[PublicRoute])
    async def gated() -> None:
        begun.set()
        await gate.wait()

    async with serving(app, IN_MEMORY, timeout_graceful_shutdown=1) as port:
        answer = asyncio.create_task(exchange(port, LIVEZ.replace(b"/livez", b"/fake/gated")))
        await begun.wait()

    assert_problem(await answer, 503, "http.service_unavailable")


async def test_pipelined_requests_are_answered_in_order(
    gated_port: int, gate: asyncio.Event
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gated_port)
    large = b" " * 300_000
    writer.write(GATED % 2 + b"{}" + LIVEZ + GATED % len(large) + large + LIVEZ + LAST)
    gate.set()
    async with asyncio.timeout(10):
        answers = await reader.read()
    writer.close()

    assert statuses(answers) == [200] * 5
    assert b'"data":2}' in answers
    assert b'"data":300000}' in answers


async def test_the_id_in_a_refusal_is_in_the_log(port: int) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = await exchange(port, b"no HTTP\r\n\r\n")

    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    (line,) = [line for line in lines if line["event"] == "request refused"]
    assert (line["request_id"], line["status"]) == (problem["requestId"], 400)
    assert line["client"] == "127.0.0.1"


@pytest.mark.parametrize("stray", [b"AAAAA", b"\0", b"GET /livez HTTP/9.9\r\n\r\n"], ids=repr)
async def test_a_good_request_is_answered_even_if_a_bad_one_follows(
    port: int, stray: bytes
) -> None:
    answers = await exchange(port, LIVEZ * 3 + stray)

    assert statuses(answers) == [200, 200, 200, 400]
    assert_problem(b"HTTP/1.1 400" + answers.rpartition(b"HTTP/1.1 400")[2], 400, "http.malformed")


async def test_requests_are_answered_before_a_later_one_whose_body_is_malformed(port: int) -> None:
    bad = HEAD.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked") + b"no chunk\r\n"

    assert statuses(await exchange(port, LIVEZ + LIVEZ + bad)) == [200, 200, 400]
    assert statuses(await exchange(port, LIVEZ + bad)) == [200, 400]


async def test_a_client_that_is_gone_is_gone_for_every_request_in_line() -> None:
    """Also for the one that is being answered, which is not the last."""
    app = create_app(container=World().container)
    ended = asyncio.Event()

    @app.get("/fake/endless", dependencies=[PublicRoute])
    async def endless() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b" " * 10_000
                    await asyncio.sleep(0.001)
            finally:
                ended.set()

        return StreamingResponse(chunks())

    async with serving(app, IN_MEMORY, timeout_graceful_shutdown=1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /fake/endless HTTP/1.1\r\nHost: x\r\n\r\n" + LIVEZ)
        async with asyncio.timeout(5):
            await reader.readline()
            writer.transport.abort()
            await ended.wait()


# --- answers that are not read ------------------------------------------------------------------


@asynccontextmanager
async def serving_much(size: int) -> AsyncIterator[int]:
    """Serve `size` bytes at `/fake/much`, at once or, with `?chunks`, bit by bit."""
    app = create_app(container=World().container)

    @app.get("/fake/much", dependencies=[PublicRoute])
    async def much(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(size // 50_000):
                yield b" " * 50_000

        return StreamingResponse(chunks()) if request.query_params else Response(b" " * size)

    async with serving(app, IN_MEMORY, http=Hurried) as port:
        yield port


def slow_socket(port: int) -> socket.socket:
    """Connect with so little room that nothing comes unless it is read."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", port))
    slow.setblocking(False)  # noqa: FBT003 - the signature of `socket`
    return slow


MUCH = b"GET /fake/much%b HTTP/1.1\r\nHost: x\r\n%b\r\n"


@pytest.mark.parametrize(
    "asked",
    [
        MUCH % (b"", b""),
        MUCH % (b"", b"Connection: close\r\n"),
        MUCH % (b"?chunks=", b""),
        MUCH % (b"", b"") * 10,
    ],
    ids=["at once", "at once, and closed", "bit by bit", "ten times"],
)
async def test_a_client_that_does_not_read_the_response_is_disconnected(asked: bytes) -> None:
    async with serving_much(20_000_000) as port:
        loop = asyncio.get_running_loop()
        with slow_socket(port) as slow:
            await loop.sock_sendall(slow, asked)
            # Without reading: the end shows in that writing fails.
            with suppress(ConnectionError):
                async with asyncio.timeout(10):
                    while True:
                        await loop.sock_sendall(slow, b"\r\n")
                        await asyncio.sleep(0.05)


async def test_a_large_answer_has_the_time_that_its_size_takes() -> None:
    """Longer than the patience, as long as the client reads on."""
    for path in (b"", b"?chunks="):
        async with serving_much(10_000_000) as port:
            loop = asyncio.get_running_loop()
            with slow_socket(port) as slow:
                await loop.sock_sendall(slow, MUCH % (path, b"Connection: close\r\n"))
                started, read = loop.time(), 0
                async with asyncio.timeout(20):
                    while got := await loop.sock_recv(slow, 100_000):
                        read += len(got)
                        if loop.time() - started < 4 * Hurried.timeout:
                            await asyncio.sleep(0.01)

        assert loop.time() - started > 2 * Hurried.timeout
        assert read > 10_000_000


# --- other ways to keep a connection ------------------------------------------------------------


async def test_an_idle_connection_has_more_time_than_a_slow_request(hurried_port: int) -> None:
    """A proxy keeps its connections for a minute; one that we closed first would be a 502."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hurried_port)
    for idle in (2 * Hurried.timeout, 0):
        writer.write(LIVEZ)
        await reader.readuntil(b"null}")
        await asyncio.sleep(idle)
    writer.close()


async def test_a_reset_connection_leaves_no_clock_behind() -> None:
    made: list[TimeoutProtocol] = []

    class Noted(TimeoutProtocol):
        lost = asyncio.Event()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(self)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.lost.set()

    async with serving(create_app(container=World().container), IN_MEMORY, http=Noted) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(LIVEZ)
        await reader.readuntil(b"null}")
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        async with asyncio.timeout(5):
            await Noted.lost.wait()

    assert made[0].timeout_keep_alive_task is None


async def test_a_draining_process_says_goodbye_on_each_connection() -> None:
    """Also on one that is idle when the listeners close: a request may be on its way."""
    app = create_app(container=World().container)
    readyz = LIVEZ.replace(b"livez", b"readyz")
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(app, IN_MEMORY))
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in idle:
            writer.write(LIVEZ)
            await reader.readuntil(b"null}")

        app.state.draining.has_begun = True
        assert_problem(await exchange(port, readyz), 503, "platform.not_ready")
        assert b"connection: close" in await exchange(port, LIVEZ)

        stopping = asyncio.create_task(stack.aclose())
        while True:  # until the listener is closed
            try:
                _, late = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                break
            late.close()
        for reader, writer in idle:
            writer.write(LIVEZ)
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer
            writer.close()
        await stopping


async def test_empty_lines_between_requests_keep_no_connection(hurried_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hurried_port)
    writer.write(LIVEZ)
    await reader.readuntil(b"null}")
    writer.write(b"\r\n")
    async with asyncio.timeout(4):  # uvicorn's own limit of idle connections is 5 s
        assert await reader.read() == b""
    writer.close()


async def sends_on(port: int, first: bytes, then: bytes, answer: bytes = b"") -> int:
    """Send `first`, wait until `answer` begins, send `then` over and over; return how often it went."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    assert await reader.readexactly(len(answer)) == answer
    times = 0
    with suppress(ConnectionError):
        async with asyncio.timeout(10):
            while True:
                writer.write(then)
                await writer.drain()
                await asyncio.sleep(0.01)
                times += 1
    writer.transport.abort()
    return times


async def test_a_flood_of_empty_lines_is_no_head(port: int) -> None:
    assert await sends_on(port, b"", b"\r\n" * 10_000) < 50


async def test_a_body_that_is_answered_already_earns_no_time(hurried_port: int) -> None:
    """A client that was refused cannot send for ever."""
    refused = HEAD.replace(b"/api/v1/auth/login", b"/nothing").replace(b": 100", b": 1000000000")

    for size in (1000, 1_000_000):
        assert await sends_on(hurried_port, refused, b" " * size, b"HTTP/1.1 404") < 500


async def test_a_slow_answer_is_not_the_fault_of_the_client() -> None:
    app = create_app(container=World().container)

    @app.get("/fake/slow", dependencies=[PublicRoute])
    async def slow() -> Envelope[None]:
        await asyncio.sleep(2 * Hurried.timeout)
        return Envelope(data=None)

    async with serving(app, IN_MEMORY, http=Hurried) as port:
        request = b"GET /fake/slow HTTP/1.1\r\nHost: x\r\n"
        whole = await exchange(port, request + b"Connection: close\r\n\r\n")
        and_half_of_another = await exchange(port, request + b"\r\n" + b"GET /livez")

    assert whole.startswith(b"HTTP/1.1 200")
    assert and_half_of_another.startswith(b"HTTP/1.1 200")


async def test_a_head_has_a_largest_size(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\n")
    await asyncio.sleep(0.05)
    for _ in range(9):
        writer.write(b"X-Filler: %b\r\n" % (b"x" * 8000))
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()

    assert_problem(answer, 431, "http.request_header_fields_too_large")


@pytest.fixture
async def reading_port() -> AsyncIterator[int]:
    """Yield where `POST /fake/read` reads a body, and then tells its length and the header `X-Late`."""
    app = create_app(container=World().container)

    @app.post("/fake/read", dependencies=[PublicRoute])
    async def read(request: Request) -> Envelope[tuple[int, str | None]]:
        length = len(await request.body())
        return Envelope(data=(length, request.headers.get("x-late")))

    async with serving(app, IN_MEMORY) as port:
        yield port


READ = b"POST /fake/read HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


async def test_a_large_body_in_one_piece_with_its_head_is_no_large_head(reading_port: int) -> None:
    answer = await exchange(reading_port, READ + b"Content-Length: 500000\r\n\r\n" + b" " * 500_000)

    assert json.loads(answer.partition(b"\r\n\r\n")[2])["data"] == [500_000, None]


async def test_a_trailer_is_no_header(reading_port: int) -> None:
    answer = await exchange(
        reading_port,
        READ + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"0\r\nX-Late: yes\r\n\r\n",
    )

    assert json.loads(answer.partition(b"\r\n\r\n")[2])["data"] == [2, None]


@pytest.mark.parametrize(
    ("first", "then"),
    [(b"0\r\nX-Late: ", b"a"), (b"0\r\n", b"X-Late: a\r\n"), (b"1;", b"a"), (b"", b"0")],
    ids=["a trailer", "trailers", "an extension", "a size"],
)
async def test_the_framing_of_a_body_is_bounded(port: int, first: bytes, then: bytes) -> None:
    """A trailer would be collected in memory, and all of it would earn time."""
    chunked = HEAD.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")

    assert await sends_on(port, chunked + first, then * (50_000 // len(then))) < 50


async def test_a_connection_that_sends_all_the_time_is_read_in_turn_with_the_others() -> None:
    """In uvloop, which `portico api` has: it reads one connection up to 32 times in a row, 256 kB each time."""
    head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"8\r\n        \r\n" * 10_000
    sent = 0

    def flood(port: int, is_over: threading.Event) -> None:
        nonlocal sent
        with socket.create_connection(("127.0.0.1", port)) as sending:
            sending.sendall(head)
            while not is_over.is_set():
                sending.sendall(chunks)
                sent += len(chunks)

    async def most_bytes_read_during_another_request() -> int:
        during = []
        async with serving(create_app(container=World().container), IN_MEMORY) as port:
            is_over = threading.Event()
            flooding = asyncio.create_task(asyncio.to_thread(flood, port, is_over))
            for _ in range(6):
                before = sent
                assert statuses(await exchange(port, LAST)) == [200]
                during.append(sent - before)
            is_over.set()
            await flooding
        return max(during[1:])  # the first also fills the buffers of the system

    # Not seconds: those depend on the machine. It is 1.7 MB in turn, and 40 MB without turns.
    assert await asyncio.to_thread(uvloop.run, most_bytes_read_during_another_request()) < 8e6


async def test_a_body_may_come_in_the_smallest_chunks(reading_port: int) -> None:
    chunks = b"1\r\n \r\n" * 10_000

    answer = await exchange(
        reading_port, READ + b"Transfer-Encoding: chunked\r\n\r\n", chunks, b"0\r\n\r\n"
    )

    assert json.loads(answer.partition(b"\r\n\r\n")[2])["data"] == [10_000, None]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"G E T / HTTP/1.1\r\n\r\n",
        HEAD.replace(b"Content-Length: 100", b"Content-Length: ten"),
        HEAD.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked") + b"no chunk\r\n",
    ],
    ids=["TLS", "no version of HTTP", "no method", "no length", "no chunk"],
)
async def test_invalid_http_gets_a_problem_like_any_other(port: int, sent: bytes) -> None:
    assert_problem(await exchange(port, sent), 400, "http.malformed")


HOST = b"Host: x\r\n"
POST = b"POST /fake/read HTTP/1.%d\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: %b\r\n\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST * 2 + b"\r\n",
        b"GET /livez HTTP/1.0\r\n" + HOST * 2 + b"\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a/b?c\r\n\r\n",
        b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n",
        b"GET /livez HTTP/0.9\r\n" + HOST + b"\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"Authorization: Bearer a\r\n" * 2 + b"\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"X-A : b\r\n\r\n",
        b"GET /livez HTTP/1.1\nHost: x\n\n",
        b"GET /livez#part HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT x:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        READ + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        READ + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST % (1, b"gzip, chunked"),
        POST % (1, b"xchunked"),
        POST % (0, b"chunked"),
    ],
    ids=lambda sent: repr(sent.replace(b"Connection: close\r\n", b""))[2:90],
)
async def test_requests_that_http_forbids_are_refused(reading_port: int, sent: bytes) -> None:
    assert_problem(await exchange(reading_port, sent), 400, "http.malformed")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /livez HTTP/1.0\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost:\tx\t\r\nConnection: close\r\n\r\n",
        b"GET http://x/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        POST % (1, b"Chunked"),
    ],
    ids=["1.0", "white space", "the absolute form", "chunks"],
)
async def test_valid_http_is_accepted(reading_port: int, sent: bytes) -> None:
    assert statuses(await exchange(reading_port, sent)) == [200]


# --- over real stores ---------------------------------------------------------------------------


@pytest.fixture
def settings(
    postgres_url: str, redis_url: str, mongo_url: str, mongo_database: str, s3_settings: S3Settings
) -> Settings:
    return Settings(
        environment=Environment.TESTING,
        registration=Registration.OPEN,
        postgres=PostgresSettings(url=postgres_url),
        redis=RedisSettings(url=redis_url),
        mongo=MongoSettings(url=mongo_url, database=mongo_database),
        s3=s3_settings,
        keys=key_settings(),
        passwords=PasswordSettings(argon2_memory_kib=64, argon2_time_cost=1),
    )


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(container=bootstrap.build(settings))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://portico.test/api/v1/auth",
            headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/143.0"},
        ) as client,
    ):
        yield client


async def sealed(client: httpx.AsyncClient, password: str) -> str:
    """Encrypt a password as the documentation tells clients to."""
    key = (await client.get("/keys/public")).json()["data"]
    public = load_pem_public_key(key["publicKey"].encode())
    assert isinstance(public, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return b64encode(public.encrypt(password.encode(), oaep)).decode()


async def data(response: httpx.Response, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.json()["data"]


async def test_an_account_lives_from_registration_to_log_out(client: httpx.AsyncClient) -> None:
    ada = {"username": "ada.lovelace", "email": "ada@example.org", "name": "Ada Lovelace"}
    user = await data(
        await client.post("/register", json={**ada, "password": await sealed(client, PASSWORD)}),
        201,
    )

    tokens = await data(
        await client.post(
            "/login",
            json={"username": "ADA@example.org", "password": await sealed(client, PASSWORD)},
        )
    )
    assert tokens["user"]["id"] == user["id"]

    refreshed = await data(
        await client.post("/token/refresh", headers={"X-Refresh-Token": tokens["refreshToken"]})
    )
    bearer = {"Authorization": f"Bearer {refreshed['accessToken']}"}
    (session,) = await data(await client.get("/sessions", headers=bearer))
    assert session["current"]

    await data(await client.patch("/user/info", json={"name": "Ada King"}, headers=bearer))
    change = {
        "oldPassword": await sealed(client, PASSWORD),
        "newPassword": await sealed(client, NEW_PASSWORD),
    }
    await data(await client.post("/password", json=change, headers=bearer))
    assert (await data(await client.get("/user/info", headers=bearer)))["name"] == "Ada King"

    await data(await client.post("/logout", headers=bearer))
    assert (await client.get("/user/info", headers=bearer)).status_code == 401


async def test_every_dependency_is_asked_whether_it_is_up(client: httpx.AsyncClient) -> None:
    response = await client.get("http://portico.test/readyz")

    assert (await data(response))["up"] == ["postgres", "schema", "redis", "mongo", "s3"]


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
async def test_without_the_broker_the_api_is_degraded_and_a_metric_says_so(
    settings: Settings, scheme: str
) -> None:
    """A broker with an address of its own; runs that are requested wait for it."""
    container = bootstrap.build(
        replace(settings, jobs=JobSettings(broker_url=f"{scheme}://127.0.0.1:1/0"))
    )
    async with (
        bootstrap.running(container),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(container=container)),
            base_url="http://portico.test",
        ) as client,
    ):
        readiness = await data(await client.get("/readyz"))
        readings = await container.read_gauges()()

    assert readiness["degraded"] == ["broker"]
    assert Reading(DEPENDENCY_UP, 0, ("broker",)) in readings


async def test_a_dependency_that_is_down_is_answered_503_within_two_seconds(
    settings: Settings,
) -> None:
    unreachable = replace(settings, redis=RedisSettings(url="redis://127.0.0.1:1/0"))
    container = bootstrap.build(unreachable)
    app = create_app(container=container)
    body = {"username": "ada.lovelace", "password": "x"}
    async with (
        bootstrap.running(container),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://portico.test"
        ) as client,
        asyncio.timeout(2),
    ):
        responses = [
            await client.post("/api/v1/auth/login", json=body),
            await client.get("/readyz"),
        ]

    assert [response.status_code for response in responses] == [503, 503]
    assert [response.json()["error"] for response in responses] == [
        "platform.unavailable",
        "platform.not_ready",
    ]
    assert responses[1].json()["errors"][0]["loc"] == ["redis"]


async def test_a_process_that_may_not_start_ends_with_exit_code_3(
    settings: Settings, servers: Servers, tmp_path: Any
) -> None:
    environment = {
        "ENVIRONMENT": "LOCAL",
        "PORTICO_DATA_DIR": str(tmp_path),
        "PORTICO_POSTGRES_URL": servers.postgres_url,  # where no migration ever ran
        "PORTICO_REDIS_URL": str(settings.redis.url),
        "PORTICO_MONGO_URL": str(settings.mongo.url),
        "PORTICO_S3_URL": str(settings.s3.url),
        "PORTICO_S3_BUCKET": settings.s3.bucket,
        "PORTICO_S3_ACCESS_KEY": settings.s3.access_key,
        "PORTICO_S3_SECRET_KEY": settings.s3.secret_key,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--factory", "entrypoints.http.app:create_app"),
        *("--port", "0", "--no-access-log"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, said = await process.communicate()

    assert process.returncode == 3
    assert "run `portico migrate` first" in said.decode()
