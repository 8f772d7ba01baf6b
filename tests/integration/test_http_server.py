"""The HTTP application over real sockets, and over real stores."""

import asyncio
import json
import socket
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fastapi import FastAPI, Request

import bootstrap
from application.settings import (
    Environment,
    MongoSettings,
    PasswordSettings,
    PostgresSettings,
    RedisSettings,
    Registration,
    S3Settings,
    Settings,
)
from entrypoints.cli.api import options
from entrypoints.http.app import create_app
from entrypoints.http.envelope import Response
from entrypoints.http.protocol import PatientProtocol
from entrypoints.http.security import PublicRoute
from tests.fakes.security import key_settings
from tests.fakes.world import IN_MEMORY, World
from tests.servers import Servers

PASSWORD = "correct horse battery staple"
NEW_PASSWORD = "purple elephants dance at noon"


# --- over real sockets --------------------------------------------------------------------------


@asynccontextmanager
async def serving(app: FastAPI, settings: Settings, **changes: Any) -> AsyncIterator[int]:
    """Serve `app` as `portico api` does, but for `changes`; yield the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, **(options(settings) | {"loop": "none"} | changes)))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield port  # whoever connects before the server has started waits in its backlog
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(create_app(container=World().container), IN_MEMORY) as port:
        yield port


async def exchange(port: int, *sent: bytes) -> bytes:
    """Send some pieces on one connection, then read until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in sent:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


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


async def test_a_client_that_goes_away_in_the_middle_of_its_body_harms_nobody(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"username": '
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
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


class Hurried(PatientProtocol):
    patience = 0.4
    least_rate = 100


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
async def test_who_sends_a_part_of_a_request_is_cut_off(hurried_port: int, sent: bytes) -> None:
    answer = await exchange(hurried_port, sent)

    last = b"HTTP/1.1 408" + answer.rpartition(b"HTTP/1.1 408")[2]
    assert_problem(last, 408, "http.request_timeout")


async def test_who_connects_and_asks_nothing_is_cut_off_without_a_word(hurried_port: int) -> None:
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


async def test_an_upgrade_to_what_nobody_serves_is_refused(hurried_port: int) -> None:
    answer = await exchange(
        hurried_port,
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 403")


async def test_a_slow_answer_is_not_the_fault_of_the_client() -> None:
    app = create_app(container=World().container)

    @app.get("/fake/slow", dependencies=[PublicRoute])
    async def slow() -> Response[None]:
        await asyncio.sleep(2 * Hurried.patience)
        return Response(data=None)

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
    async def read(request: Request) -> Response[tuple[int, str | None]]:
        length = len(await request.body())
        return Response(data=(length, request.headers.get("x-late")))

    async with serving(app, IN_MEMORY) as port:
        yield port


READ = b"POST /fake/read HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


async def test_a_large_body_in_one_piece_with_its_head_is_no_large_head(reading_port: int) -> None:
    answer = await exchange(reading_port, READ + b"Content-Length: 500000\r\n\r\n" + b" " * 500_000)

    assert json.loads(answer.partition(b"\r\n\r\n")[2])["data"] == [500_000, None]


async def test_what_comes_after_the_body_is_no_header(reading_port: int) -> None:
    answer = await exchange(
        reading_port,
        READ + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"0\r\nX-Late: yes\r\n\r\n",
    )

    assert json.loads(answer.partition(b"\r\n\r\n")[2])["data"] == [2, None]


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
async def test_what_is_no_http_is_a_problem_like_any_other(port: int, sent: bytes) -> None:
    assert_problem(await exchange(port, sent), 400, "http.malformed")


def assert_problem(answer: bytes, status: int, error: str) -> None:
    """Look for all that every error response has."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    problem = json.loads(body)
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"] == b"close"
    assert headers[b"x-request-id"].decode() == problem["requestId"]
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-store"
    assert int(headers[b"content-length"]) == len(body)
    assert (problem["status"], problem["error"]) == (status, error)


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
        passwords=PasswordSettings(memory_kib=64, time_cost=1),
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

    assert (await data(response))["up"] == ["postgres", "redis", "mongo", "s3"]


async def test_a_dependency_that_is_down_is_answered_503_within_two_seconds(
    settings: Settings,
) -> None:
    nobody_there = replace(settings, redis=RedisSettings(url="redis://127.0.0.1:1/0"))
    container = bootstrap.build(nobody_there)
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
