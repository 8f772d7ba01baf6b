"""One log line per request, and what must never be in any."""

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import redirect_stderr
from dataclasses import replace
from typing import Any

import pytest
import structlog

from adapters.observability.logs import configure_logging
from application.settings import Environment
from domain.errors import Unavailable
from entrypoints.http.envelope import Envelope
from entrypoints.http.router import Router
from entrypoints.http.security import PublicRoute
from tests.support.builders import a_user
from tests.support.web import Web
from tests.support.world import IN_MEMORY, LAPTOP, PASSWORD, World

router = Router(prefix="/fake", dependencies=[PublicRoute])


@router.get("/broken")
async def broken() -> Envelope[None]:
    raise RuntimeError("the cause")


@router.get("/down")
async def down() -> Envelope[None]:
    raise Unavailable("redis") from ConnectionRefusedError("redis://:hunter2@cache:6379")


@pytest.fixture
async def fake_web(world: World) -> AsyncIterator[Web]:
    async with Web(world, routers=[router]) as web:
        yield web


async def test_a_request_leaves_one_line_that_says_what_happened(web: Web) -> None:
    ada = await web.world.given(a_user())
    bearer = await web.bearer(ada)
    (session,) = await web.world.sessions(ada)

    await web.client.delete(
        f"/api/v1/auth/sessions/{session.id}", headers={**bearer, "X-Request-ID": "abc"}
    )

    (line,) = web.logs
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "DELETE",
        "route": "/api/v1/auth/sessions/{session_id}",
        "status": 200,
        "client": LAPTOP.address,
        "user_id": ada.id,
        "request_id": "abc",
    }


async def test_the_line_says_whom_something_was_refused(web: Web) -> None:
    ada = await web.world.given(a_user())
    bearer = await web.bearer(ada)
    await web.client.get("/api/v1/users", headers=bearer)
    await web.world.change(ada, must_change_password=True)
    await web.client.get("/api/v1/auth/sessions", headers=bearer)

    assert [(line["status"], line["error"], line["user_id"]) for line in web.logs] == [
        (403, "access.permission_denied", ada.id),
        (403, "identity.password_change_required", ada.id),
    ]


async def test_an_error_is_named_by_its_code_and_the_log_alone_says_why(web: Web) -> None:
    response = await web.client.get(
        "/api/v1/auth/sessions", headers={"Authorization": "Bearer nonsense"}
    )

    (line,) = web.logs
    assert (line["status"], line["error"]) == (401, "sessions.invalid_token")
    assert line["reason"] == "unknown"
    assert "unknown" not in response.text


async def test_head_is_logged_as_what_it_was(web: Web) -> None:
    await web.client.head("/livez")

    assert (web.logs[0]["method"], web.logs[0]["route"]) == ("HEAD", "/livez")


async def test_a_path_that_no_route_has_is_logged_on_one_line_and_not_at_any_length(
    web: Web,
) -> None:
    await web.client.get("/no%0d%0aFAKE LINE" + "x" * 5000)

    (line,) = web.logs
    assert line["route"] is None
    assert line["path"].startswith("/no%0D%0AFAKE%20LINE")
    assert len(line["path"]) < 1000


async def test_the_cause_of_an_unexpected_error_is_under_the_request_id(fake_web: Web) -> None:
    response = await fake_web.client.get("/fake/broken")

    error, request = fake_web.logs
    assert error["log_level"] == "error"
    assert str(error["exc_info"]) == "the cause"
    assert error["request_id"] == request["request_id"] == response.json()["requestId"]
    assert (request["status"], request["error"]) == (500, "http.internal_error")


async def test_a_dependency_that_is_down_is_logged_without_its_address(fake_web: Web) -> None:
    response = await fake_web.client.get("/fake/down")

    warning, request = fake_web.logs
    assert (warning["dependency"], warning["cause"]) == ("redis", "ConnectionRefusedError")
    assert request["error"] == "platform.unavailable"
    for text in (str(fake_web.logs), response.text):
        assert "hunter2" not in text


async def test_requests_do_not_inherit_each_others_facts(web: Web) -> None:
    bearer = await web.bearer(await web.world.given(a_user()))
    await web.client.get("/api/v1/auth/user/info", headers=bearer)

    await web.client.get("/livez")

    assert "user_id" in web.logs[0]
    assert "user_id" not in web.logs[1]


# --- the lines as they are written --------------------------------------------------------------


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Return what the process would write to its log in production, from its first line on."""
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with redirect_stderr(io.StringIO()) as lines:
        configure_logging(replace(IN_MEMORY, environment=Environment.PRODUCTION, log_level="DEBUG"))
    yield lines
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def ours(written: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines but for those of the client, which is in this process too."""
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    return [line for line in lines if line["logger"] not in {"httpx", "asyncio"}]


async def test_no_token_and_no_password_is_ever_written(written: io.StringIO) -> None:
    world = World()
    web = Web(world)
    ada = await world.given(a_user())
    secrets = {PASSWORD}

    tokens = await web.log_in(ada)
    secrets |= {tokens["accessToken"], tokens["refreshToken"]}
    bearer = {"Authorization": f"Bearer {tokens['accessToken']}"}
    refresh = {"X-Refresh-Token": tokens["refreshToken"]}
    wrong = world.seal("another secret entirely")
    secrets |= {"another secret entirely", wrong.ciphertext}
    client = web.client
    await client.get("/api/v1/auth/user/info", headers=bearer)
    await client.get(
        "/api/v1/auth/user/info", headers={"Authorization": f"Bearer {tokens['refreshToken']}"}
    )
    await client.get(f"/api/v1/auth/user/info?access_token={tokens['accessToken']}")
    await client.post("/api/v1/auth/login", json={"username": "a", "password": wrong.ciphertext})
    await client.post("/api/v1/auth/login", json={"username": "a", "password": [PASSWORD]})
    await client.post("/api/v1/auth/login", content=f'{{"password": "{PASSWORD}"'.encode())
    await client.post("/api/v1/auth/token/refresh", headers=refresh)
    await client.post("/api/v1/auth/token/refresh", headers={"X-Refresh-Token": PASSWORD})
    await client.post(
        "/api/v1/auth/login/swagger", data={"username": ada.username.value, "password": PASSWORD}
    )
    await client.post("/api/v1/auth/logout", headers=bearer)

    lines = ours(written)
    assert len(lines) == 11
    for secret in secrets:
        assert secret not in str(lines)


async def test_no_header_breaks_out_of_its_line(written: io.StringIO) -> None:
    web = Web(World())
    evil = b'x\r\n{"message": "request", "status": 200}\x1b[2J'

    for name in (b"X-Request-ID", b"User-Agent", b"Authorization", b"X-Forwarded-For", b"Host"):
        await web.client.get("/api/v1/auth/sessions", headers=[(name, evil)])

    lines = ours(written)
    assert [line["status"] for line in lines] == [401] * 4 + [400]
    assert "\x1b" not in written.getvalue()
