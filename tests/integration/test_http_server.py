"""The HTTP application over real sockets, and over real stores."""

import asyncio
import json
import socket
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fastapi import FastAPI

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
from tests.fakes.security import key_settings
from tests.fakes.world import IN_MEMORY, World
from tests.servers import Servers

PASSWORD = "correct horse battery staple"
NEW_PASSWORD = "purple elephants dance at noon"


# --- over real sockets --------------------------------------------------------------------------


@asynccontextmanager
async def serving(app: FastAPI, settings: Settings) -> AsyncIterator[int]:
    """Serve `app` as `portico api` does; yield the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, **{**options(settings), "loop": "none"}))
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
