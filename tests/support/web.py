"""The HTTP application over a world in memory, and a client that holds every response to what all of them promise."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, MutableMapping
from contextlib import AsyncExitStack
from functools import cache
from types import TracebackType
from typing import Any, Self

import httpx
import structlog
from fastapi import APIRouter, FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

from application.settings import HttpSettings
from application.use_cases.caller import ClientInfo
from domain.identity import User
from entrypoints.http.app import create_app, described_app, give_container
from entrypoints.http.permissions import guarded_routes
from tests.support.world import LAPTOP, PASSWORD, World

_ON_EVERY_RESPONSE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_MEMBERS_OF_A_PROBLEM = {
    "type",
    "title",
    "status",
    "detail",
    "instance",
    "code",
    "message",
    "ts",
    "data",
    "error",
    "requestId",
    "errors",
}


@cache
def description(*, debug: bool = True) -> Mapping[str, Any]:
    """Return what OpenAPI says of the application."""
    described: Mapping[str, Any] = described_app(HttpSettings(), debug=debug).openapi()
    return described


# Making an application takes longer than most tests. What it is made of is the key; it keeps its routers alive,
# so no others have their ids.
_idle_apps = defaultdict[tuple[HttpSettings, bool, tuple[int, ...]], list[FastAPI]](list)


class Web:
    """An application, which may have served other worlds before, a client, and the world behind both."""

    def __init__(self, world: World, *, routers: Collection[APIRouter] = ()) -> None:
        self.world = world
        settings = world.container.settings()
        self._idle = _idle_apps[settings.http, settings.environment.debug, tuple(map(id, routers))]
        self.app = (
            self._idle.pop()
            if self._idle
            else create_app(container=world.container, routers=routers)
        )
        give_container(self.app, world.container)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(
                self.app, raise_app_exceptions=False, client=(LAPTOP.address, 50000)
            ),
            base_url="http://portico.test",
            headers={"User-Agent": LAPTOP.agent or ""},
            event_hooks={"response": [self._check]},
        )
        self.logs: list[MutableMapping[str, Any]] = []
        """The log lines since the block was entered."""
        self._stack = AsyncExitStack()
        self._documented = description(debug=settings.environment.debug)["paths"]

    async def __aenter__(self) -> Self:
        level = logging.getLogger("portico.http").level
        logging.getLogger("portico.http").setLevel(logging.INFO)
        self._stack.callback(logging.getLogger("portico.http").setLevel, level)
        self.logs = self._stack.enter_context(
            structlog.testing.capture_logs([structlog.contextvars.merge_contextvars])
        )
        await self._stack.enter_async_context(self.client)
        await self.world.container.sync_routes()([*guarded_routes(self.app.routes)])
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(exc_type, exc, traceback)
        self._idle.append(self.app)

    # --- what a client does ---

    def sealed(self, password: str, *, field: str = "password") -> dict[str, str | None]:
        """Return the fields of a body that carry `password`."""
        sealed = self.world.seal(password)
        return {field: sealed.ciphertext, "kid": sealed.key_id}

    async def log_in(self, user: User, password: str = PASSWORD) -> dict[str, Any]:
        """Log in and return the data of the answer."""
        response = await self.client.post(
            "/api/v1/auth/login",
            json={"username": user.username.value, **self.sealed(password)},
        )
        assert response.status_code == 200, response.text
        data: dict[str, Any] = response.json()["data"]
        return data

    async def bearer(self, user: User, client: ClientInfo = LAPTOP) -> dict[str, str]:
        """Return the headers of a user who has logged in."""
        _, tokens = await self.world.log_in_as(user, client)
        return {"Authorization": f"Bearer {tokens.access_token}"}

    # --- what every response promises ---

    def route_of(self, method: str, path: str) -> RouteContext | None:
        """Return which route answers; those of the very path keep templates away from it."""
        routes = [r for r in iter_route_contexts(self.app.routes) if r.path_regex.match(path)]
        fixed = [route for route in routes if route.path == path]
        return next((r for r in fixed or routes if method in (r.methods or ())), None)

    async def _check(self, response: httpx.Response) -> None:
        await response.aread()
        await asyncio.sleep(0)  # log lines are written when the turn of the event loop has ended
        for name, value in _ON_EVERY_RESPONSE.items():
            assert response.headers[name] == value
        assert "content-security-policy" in response.headers
        assert "cache-control" in response.headers
        assert response.headers["x-request-id"]
        if response.status_code >= 400:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["cache-control"] == "no-store"
            if response.request.method != "HEAD":
                self._check_problem(response)
        self._check_documented(response)

    def _check_problem(self, response: httpx.Response) -> None:
        problem = response.json()
        assert problem.keys() == _MEMBERS_OF_A_PROBLEM
        assert problem["code"] == problem["status"] == response.status_code
        assert problem["type"] == f"urn:portico:error:{problem['error']}"
        assert problem["message"] == problem["detail"]
        assert problem["data"] is None
        assert problem["requestId"] == response.headers["x-request-id"]
        assert ("www-authenticate" in response.headers) == (response.status_code == 401)
        assert ("retry-after" in response.headers) == (response.status_code in {429, 503})

    def _check_documented(self, response: httpx.Response) -> None:
        method = "GET" if response.request.method == "HEAD" else response.request.method
        route = self.route_of(method, response.request.url.path)
        if route is None or route.path_format is None:
            return
        if route.path_format not in self._documented:
            return
        documented = self._documented[route.path_format][method.lower()]["responses"]
        assert str(response.status_code) in documented, (
            f"{method} {route.path_format} answers {response.status_code}, which OpenAPI does not say"
        )
        if response.is_success:
            success = documented[str(response.status_code)]
            assert response.headers["content-type"] in success["content"]
            assert {name.lower() for name in success["headers"]} <= response.headers.keys()
