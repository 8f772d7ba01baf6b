"""Who may call: declarations, tokens, one-time passwords, and the dependencies of a route's author."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter
from fastapi.params import Depends
from fastapi.routing import iter_route_contexts
from fastapi.staticfiles import StaticFiles

from application.settings import Environment, HttpSettings
from domain.identity import UserStatus
from entrypoints.http.app import create_app, described_app
from entrypoints.http.envelope import Envelope
from entrypoints.http.permissions import guarded_routes
from entrypoints.http.router import Router, UndeclaredRoute, declarations_of
from entrypoints.http.security import (
    OPEN,
    AuthenticatedRoute,
    CallerDep,
    DebugOnlyDep,
    GuardedRoute,
    HeaderAccessTokenDep,
    HeaderRefreshTokenDep,
    HeaderUserAgentDep,
    OneTimePasswordCallerDep,
    OneTimePasswordRoute,
    PublicRoute,
    UserAccessJWTDep,
    UserDBDep,
    UserRefreshDep,
    UserRefreshJWTDep,
    VerifyPermissionDep,
    public,
)
from tests.support.builders import a_role, a_user
from tests.support.web import Web
from tests.support.world import IN_MEMORY, PHONE, World

SESSIONS = "/api/v1/auth/sessions"
USER_INFO = "/api/v1/auth/user/info"

router = Router(prefix="/fake")


@router.get("/values", dependencies=[PublicRoute])
async def values(
    access: HeaderAccessTokenDep, refresh: HeaderRefreshTokenDep, agent: HeaderUserAgentDep
) -> Envelope[list[str | None]]:
    return Envelope(data=[access, refresh, agent])


@router.get("/access-claims", dependencies=[PublicRoute])
async def access_claims(claims: UserAccessJWTDep) -> Envelope[UUID]:
    return Envelope(data=claims.session_id)


@router.get("/refresh-claims", dependencies=[PublicRoute])
async def refresh_claims(claims: UserRefreshJWTDep) -> Envelope[UUID]:
    return Envelope(data=claims.session_id)


@router.get("/caller", dependencies=[AuthenticatedRoute])
async def show_caller(caller: CallerDep, user: UserDBDep) -> Envelope[list[UUID]]:
    return Envelope(data=[caller.user_id, caller.session_id, user.id])


@router.get("/guarded/{thing_id}", dependencies=[GuardedRoute])
async def show_guarded(thing_id: str, caller: VerifyPermissionDep) -> Envelope[UUID]:
    return Envelope(data=caller.user_id)


@router.get("/any-password", dependencies=[OneTimePasswordRoute])
async def show_any_caller(caller: OneTimePasswordCallerDep) -> Envelope[UUID]:
    return Envelope(data=caller.user_id)


@router.get("/refreshing", dependencies=[PublicRoute])
async def show_refreshing(caller: UserRefreshDep) -> Envelope[UUID]:
    return Envelope(data=caller.user_id)


@router.get("/debug", dependencies=[PublicRoute])
async def debug(_: DebugOnlyDep) -> Envelope[None]:
    return Envelope(data=None)


@pytest.fixture
async def fake_web(world: World) -> AsyncIterator[Web]:
    async with Web(world, routers=[router]) as web:
        yield web


# --- declarations -------------------------------------------------------------------------------


def test_a_route_that_does_not_say_who_may_call_keeps_the_application_from_starting(
    world: World,
) -> None:
    undeclared = Router(prefix="/api/v1")

    @undeclared.get("/secrets/{secret_id}")
    async def secrets(secret_id: str) -> None: ...

    @undeclared.post("/secrets")
    async def make_secret(_caller: CallerDep) -> None: ...

    with pytest.raises(UndeclaredRoute) as refusal:
        create_app(container=world.container, routers=[undeclared])

    assert refusal.value.routes == ["GET /api/v1/secrets/{secret_id}", "POST /api/v1/secrets"]


def test_a_route_that_says_two_things_keeps_the_application_from_starting(world: World) -> None:
    unsure = Router(dependencies=[PublicRoute])

    @unsure.get("/unsure", dependencies=[AuthenticatedRoute])
    async def unsure_route() -> None: ...

    with pytest.raises(UndeclaredRoute):
        create_app(container=world.container, routers=[unsure])


def test_a_route_of_another_kind_of_router_keeps_the_application_from_starting(
    world: World,
) -> None:
    """FastAPI's own would read the body of a stranger."""
    other = APIRouter(dependencies=[GuardedRoute])

    @other.get("/other")
    async def other_route() -> None: ...

    with pytest.raises(UndeclaredRoute):
        create_app(container=world.container, routers=[other])


@pytest.mark.parametrize("declarations", [[], [PublicRoute, AuthenticatedRoute]])
async def test_a_route_without_an_access_declaration_answers_no_client(
    web: Web, declarations: list[Depends]
) -> None:
    app = create_app(container=web.world.container)
    app.get("/fake/late", dependencies=declarations)(lambda: None)
    bearer = await web.bearer(await web.world.given(a_user(is_admin=True)))

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/fake/late", headers=bearer)

    assert response.status_code == 500


def test_a_mounted_application_cannot_say_who_may_call(world: World) -> None:
    mounting = Router()
    mounting.mount("/files", StaticFiles(directory="."))

    with pytest.raises(UndeclaredRoute):
        create_app(container=world.container, routers=[mounting])


async def test_a_route_that_was_added_later_keeps_the_application_from_starting(
    world: World,
) -> None:
    app = create_app(container=world.container)
    app.get("/late")(public)

    with pytest.raises(UndeclaredRoute):
        async with app.router.lifespan_context(app):
            pass


# --- every route against every wrong token ------------------------------------------------------


def closed_routes() -> Iterator[tuple[str, str]]:
    """Yield method and template of each route that wants a caller."""
    for route in iter_route_contexts(described_app(HttpSettings(), debug=True).routes):
        if OPEN.isdisjoint(declarations_of(route)):
            for method in sorted(route.methods or ()):
                yield method, str(route.path)


CLOSED_TEMPLATES = list(closed_routes())
CLOSED_ROUTES = [
    (method, re.sub(r"{\w+}", str(UUID(int=0)), path)) for method, path in CLOSED_TEMPLATES
]


GUARDED_ROUTES = [
    (method, re.sub(r"{\w+}", str(UUID(int=0)), path))
    for method, path in (
        (route.method, route.path)
        for route in guarded_routes(described_app(HttpSettings(), debug=True).routes)
    )
]
JSON = {"Content-Type": "application/json"}
OF_NOBODY = {"Authorization": "Bearer nonsense"}


async def unread_body(web: Web, method: str, path: str, headers: dict[str, str]) -> int:
    """Return the status of a request, and make sure that nothing of its body was read."""
    was_read = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        was_read.set()
        yield b"{}"

    response = await web.client.request(method, path, content=body(), headers=headers)
    assert not was_read.is_set()
    return response.status_code


def test_there_are_routes_that_want_a_caller() -> None:
    assert ("GET", SESSIONS) in CLOSED_ROUTES
    assert ("GET", "/api/v1/users") in CLOSED_ROUTES
    assert len(CLOSED_ROUTES) >= 27


NOT_SHOWN = ("sessions.not_authenticated", 'Bearer realm="portico"')
NOT_OURS = ("sessions.invalid_token", 'Bearer realm="portico", error="invalid_token"')
WRONG_HEADERS = {
    None: NOT_SHOWN,
    "Basic YWRhOmFkYQ==": NOT_SHOWN,
    "garbage": NOT_SHOWN,
    "Bearer": NOT_OURS,
    "Bearer ": NOT_OURS,
    "Bearer x": NOT_OURS,
    "bearer a.b.c": NOT_OURS,
    f"Bearer {'x' * 5000}": NOT_OURS,
}
NOT_WHITE_SPACE = ["\u00a0", "\u0085", "\u001c", "\u00ad"]


@pytest.mark.parametrize("space", NOT_WHITE_SPACE, ids=ascii)
@pytest.mark.parametrize(
    "form", ["Bearer {1}{0}", "Bearer {0}{1}", "Bearer{1}{0}", "{1}Bearer {0}"]
)
async def test_only_real_white_space_may_be_around_a_token(web: Web, form: str, space: str) -> None:
    bearer = await web.bearer(await web.world.given(a_user()))
    token = bearer["Authorization"].removeprefix("Bearer ")
    authorization = form.format(token, space).encode("latin-1")

    response = await web.client.get(SESSIONS, headers=[(b"Authorization", authorization)])

    assert response.status_code == 401


@pytest.mark.parametrize(("method", "path"), CLOSED_ROUTES)
async def test_a_closed_route_answers_401_without_a_token_of_ours(
    web: Web, method: str, path: str
) -> None:
    for authorization, expected in WRONG_HEADERS.items():
        headers = {} if authorization is None else {"Authorization": authorization}

        response = await web.client.request(method, path, headers=headers)

        assert response.status_code == 401
        assert (response.json()["error"], response.headers["www-authenticate"]) == expected


async def test_a_refresh_token_is_no_access_token(web: Web) -> None:
    tokens = await web.log_in(await web.world.given(a_user()))

    response = await web.client.get(
        SESSIONS, headers={"Authorization": f"Bearer {tokens['refreshToken']}"}
    )

    assert response.status_code == 401


async def test_a_disabled_user_is_cut_off_at_the_next_request(web: Web) -> None:
    ada = await web.world.given(a_user())
    bearer = await web.bearer(ada)
    await web.world.change(ada, status=UserStatus.DISABLED)

    response = await web.client.get(SESSIONS, headers=bearer)

    assert response.status_code == 401
    assert response.json()["error"] == "sessions.invalid_token"


async def test_an_unauthorized_caller_learns_no_errors_of_the_request(
    web: Web,
) -> None:
    for method, path in (("DELETE", f"{SESSIONS}/no-uuid"), ("PATCH", USER_INFO)):
        response = await web.client.request(method, path, json={"unknown": 1})

        assert response.status_code == 401


# --- bodies of those who may not call -----------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), CLOSED_ROUTES)
@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "multipart/form-data; boundary=x"]
)
async def test_nothing_of_a_body_is_read_before_its_sender_is_known(
    web: Web, method: str, path: str, content_type: str
) -> None:
    assert await unread_body(web, method, path, {"Content-Type": content_type}) == 401


@pytest.mark.parametrize(("method", "template"), CLOSED_TEMPLATES)
async def test_a_stranger_learns_nothing_of_ids_and_queries(
    web: Web, method: str, template: str
) -> None:
    for value, query in {
        "no-uuid": "page=-1&pageSize=x",
        "%00": "unknown=1",
        "%ff": "%ff=%00",
        "x" * 300: "ids=x&ids=",
    }.items():
        path = re.sub(r"{\w+}", value, template)
        assert await unread_body(web, method, f"{path}?{query}", JSON | OF_NOBODY) == 401


REFRESH = "/api/v1/auth/token/refresh"
LOG_OUT = "/api/v1/auth/logout"
NOT_REFRESHING = {"X-Refresh-Token": "nonsense"}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (REFRESH, NOT_REFRESHING),
        (LOG_OUT, NOT_REFRESHING),
        (LOG_OUT, OF_NOBODY),
        (LOG_OUT, OF_NOBODY | NOT_REFRESHING),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_a_token_in_a_header_is_judged_before_the_body_is_read(
    web: Web, path: str, shown: dict[str, str], content_type: str
) -> None:
    assert await unread_body(web, "POST", path, shown | {"Content-Type": content_type}) == 401


@pytest.mark.parametrize("path", [REFRESH, LOG_OUT])
async def test_a_token_in_a_header_is_judged_before_the_query(web: Web, path: str) -> None:
    assert (await web.client.post(f"{path}?x=1", headers=NOT_REFRESHING)).status_code == 401


async def test_log_out_wants_only_one_of_two_tokens_in_headers(web: Web) -> None:
    for good in ("accessToken", "refreshToken"):
        tokens = await web.log_in(await web.world.given(a_user()))
        values = {"accessToken": "x", "refreshToken": "x"} | {good: tokens[good]}
        headers = {
            "Authorization": f"Bearer {values['accessToken']}",
            "X-Refresh-Token": values["refreshToken"],
        }

        malformed = await web.client.post(LOG_OUT, content=b"{", headers=headers | JSON)
        response = await web.client.post(LOG_OUT, headers=headers)

        assert (malformed.status_code, response.status_code) == (400, 200)


@pytest.mark.parametrize(("method", "path"), GUARDED_ROUTES)
async def test_nothing_of_a_body_is_read_of_those_without_the_permission(
    web: Web, method: str, path: str
) -> None:
    bearer = await web.bearer(await web.world.given(a_user()))

    assert await unread_body(web, method, path, bearer | JSON) == 403


@pytest.mark.parametrize(
    ("body", "admitted"),
    [(b"{", 400), (b" " * 2 * 1024 * 1024, 413), (b'{"a": 1, "a": 1}', 400), (b'{"a": 1}', 422)],
    ids=["malformed", "too large", "ambiguous", "invalid"],
)
async def test_only_who_may_call_learns_what_is_wrong_with_a_body(
    web: Web, body: bytes, admitted: int
) -> None:
    admin = await web.world.given(a_user(is_admin=True))
    ada = await web.world.given(a_user())
    for user, status in ((None, 401), (ada, 403), (admin, admitted)):
        headers = JSON | (await web.bearer(user) if user else {})

        response = await web.client.post("/api/v1/users", content=body, headers=headers)

        assert response.status_code == status


async def test_a_route_whose_template_is_not_known_reads_no_body(world: World) -> None:
    app = create_app(container=world.container)

    @app.post("/fake/loose", dependencies=[GuardedRoute])
    async def loose(body: dict[str, str]) -> Envelope[None]:
        return Envelope(data=None)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        Web(world) as web,
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        bearer = await web.bearer(await world.given(a_user(is_admin=True)))
        response = await client.post("/fake/loose", json={}, headers=bearer)

    assert response.status_code == 500


async def test_the_body_of_a_client_that_is_disconnected_has_no_effect(
    web: Web,
) -> None:
    """Otherwise a body that never seems to end would keep rights that were taken."""
    ada = await web.world.given(a_user(is_admin=True))
    bearer = await web.bearer(ada)

    async def slow_body() -> AsyncIterator[bytes]:
        yield b'{"username": "grace.hopper", '
        await web.world.change(ada, status=UserStatus.DISABLED)
        await asyncio.sleep(0.2)
        yield b'"email": "grace@example.org", "name": "Grace Hopper"}'

    response = await web.client.post("/api/v1/users", content=slow_body(), headers=bearer | JSON)

    assert response.status_code == 401


# --- one-time passwords -------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), CLOSED_ROUTES)
async def test_a_one_time_password_opens_user_info_the_change_of_password_and_log_out(
    web: Web, method: str, path: str
) -> None:
    bearer = await web.bearer(await web.world.given(a_user(must_change_password=True)))

    response = await web.client.request(method, path, headers=bearer)

    if (method, path) in {
        ("GET", USER_INFO),
        ("POST", "/api/v1/auth/password"),
        ("POST", "/api/v1/auth/logout/all"),
    }:
        assert response.status_code in {200, 422}
    else:
        assert response.status_code == 403
        assert response.json()["error"] == "identity.password_change_required"


async def test_a_one_time_password_logs_out(web: Web) -> None:
    bearer = await web.bearer(await web.world.given(a_user(must_change_password=True)))

    response = await web.client.post("/api/v1/auth/logout", headers=bearer)

    assert response.status_code == 200


# --- permissions --------------------------------------------------------------------------------

THING = "GET:/fake/guarded/{thing_id}"


async def test_a_permission_is_the_method_and_the_whole_template_of_the_route(
    fake_web: Web,
) -> None:
    holder = await fake_web.world.given(a_user(), a_role(THING))
    other = await fake_web.world.given(a_user(), a_role("GET:/guarded/{thing_id}", "*:/api/**"))

    allowed = await fake_web.client.get("/fake/guarded/1", headers=await fake_web.bearer(holder))
    denied = await fake_web.client.get("/fake/guarded/1", headers=await fake_web.bearer(other))

    assert (allowed.status_code, allowed.json()["data"]) == (200, str(holder.id))
    assert (denied.status_code, denied.json()["error"]) == (403, "access.permission_denied")
    assert denied.json()["detail"] == f"This needs the permission {THING}"


async def test_head_needs_the_permission_of_get(fake_web: Web) -> None:
    holder = await fake_web.world.given(a_user(), a_role(THING))
    other = await fake_web.world.given(a_user(), a_role("HEAD:**"))

    for user, status in ((holder, 200), (other, 403)):
        response = await fake_web.client.head(
            "/fake/guarded/1", headers=await fake_web.bearer(user)
        )
        assert response.status_code == status


async def test_one_route_under_two_prefixes_needs_two_permissions(world: World) -> None:
    """A role that opens version 1 must not open version 2."""
    shared = Router(dependencies=[GuardedRoute])

    @shared.get("/things")
    async def things() -> Envelope[None]:
        return Envelope(data=None)

    versions = []
    for prefix in ("/api/v1/fake", "/api/v2/fake"):
        version = Router(prefix=prefix)
        version.include_router(shared)
        versions.append(version)
    async with Web(world, routers=versions) as web:
        bearer = await web.bearer(await world.given(a_user(), a_role("GET:/api/v1/fake/things")))
        statuses = [
            (await web.client.get(f"/api/{v}/fake/things", headers=bearer)).status_code
            for v in ("v1", "v2")
        ]

    assert statuses == [200, 403]


@pytest.mark.parametrize(
    "path", ["/fake/guarded/..%2f1", "/fake/guarded/%2e%2e", "/fake/guarded/1?x"]
)
async def test_values_in_the_path_do_not_change_the_permission(fake_web: Web, path: str) -> None:
    other = await fake_web.world.given(
        a_user(), a_role("GET:/fake/guarded/1", "GET:/fake/guarded/..%2f1")
    )

    response = await fake_web.client.get(path, headers=await fake_web.bearer(other))

    assert response.status_code in {403, 404}


async def test_a_route_without_a_template_from_fastapi_lets_no_caller_in(world: World) -> None:
    """One that stands in no router; not even an administrator gets in by guessing."""
    app = create_app(container=world.container)

    @app.get("/fake/loose", dependencies=[GuardedRoute])
    async def loose() -> Envelope[None]:
        return Envelope(data=None)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        Web(world) as web,
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        bearer = await web.bearer(await world.given(a_user(is_admin=True)))
        response = await client.get("/fake/loose", headers=bearer)

    assert response.status_code == 500


async def test_a_demoted_or_disabled_caller_is_cut_off_at_the_next_request(web: Web) -> None:
    ada = await web.world.given(a_user(is_admin=True))
    bearer = await web.bearer(ada)
    assert (await web.client.get("/api/v1/users", headers=bearer)).status_code == 200

    await web.world.change(ada, is_admin=False)
    assert (await web.client.get("/api/v1/users", headers=bearer)).status_code == 403

    await web.world.change(ada, status=UserStatus.DISABLED)
    assert (await web.client.get("/api/v1/users", headers=bearer)).status_code == 401


# --- what a route's author gets -----------------------------------------------------------------


async def test_raw_values_are_what_was_sent(fake_web: Web) -> None:
    sent = {"Authorization": "Bearer  abc ", "X-Refresh-Token": "def", "User-Agent": "thing/1"}

    response = await fake_web.client.get("/fake/values", headers=sent)

    assert response.json()["data"] == ["abc", "def", "thing/1"]


async def test_raw_values_may_be_absent(fake_web: Web) -> None:
    del fake_web.client.headers["User-Agent"]

    response = await fake_web.client.get("/fake/values")

    assert response.json()["data"] == [None, None, None]


async def test_verified_claims_outlive_their_session_and_not_their_expiry(fake_web: Web) -> None:
    tokens = await fake_web.log_in(await fake_web.world.given(a_user()))
    access = {"Authorization": f"Bearer {tokens['accessToken']}"}
    refresh = {"X-Refresh-Token": tokens["refreshToken"]}
    await fake_web.client.post("/api/v1/auth/logout", headers=access)

    for path, headers in (("access", access), ("refresh", refresh)):
        response = await fake_web.client.get(f"/fake/{path}-claims", headers=headers)
        assert response.status_code == 200

    await fake_web.world.pass_time(days=8)
    for path, headers in (
        ("access", access),
        ("refresh", refresh),
        ("access", {}),
        ("refresh", {}),
    ):
        response = await fake_web.client.get(f"/fake/{path}-claims", headers=headers)
        assert response.status_code == 401


async def test_the_caller_is_an_active_user_in_a_living_session(fake_web: Web) -> None:
    ada = await fake_web.world.given(a_user())
    bearer = await fake_web.bearer(ada)
    (session,) = await fake_web.world.sessions(ada)

    response = await fake_web.client.get("/fake/caller", headers=bearer)

    assert response.json()["data"] == [str(ada.id), str(session.id), str(ada.id)]


async def test_the_caller_of_a_refresh_has_the_token_that_is_next(fake_web: Web) -> None:
    ada = await fake_web.world.given(a_user())
    tokens = await fake_web.log_in(ada)
    headers = {"X-Refresh-Token": tokens["refreshToken"]}
    path = "/fake/refreshing"

    for _ in range(2):
        response = await fake_web.client.get(path, headers=headers)
        assert response.json()["data"] == str(ada.id)

    await fake_web.client.post("/api/v1/auth/token/refresh", headers=headers)
    assert (await fake_web.client.get(path, headers=headers)).status_code == 401
    assert (await fake_web.client.get(path)).status_code == 401


async def test_two_devices_of_one_user_are_two_callers(fake_web: Web) -> None:
    ada = await fake_web.world.given(a_user())
    callers = [
        (await fake_web.client.get("/fake/caller", headers=bearer)).json()["data"]
        for bearer in (await fake_web.bearer(ada), await fake_web.bearer(ada, PHONE))
    ]

    assert callers[0][0] == callers[1][0]
    assert callers[0][1] != callers[1][1]


@pytest.mark.parametrize("environment", list(Environment))
async def test_debugging_routes_do_not_exist_when_deployed(environment: Environment) -> None:
    world = World(replace(IN_MEMORY, environment=environment))
    async with Web(world, routers=[router]) as web:
        response = await web.client.get("/fake/debug")
        unknown = await web.client.get("/fake/unknown")

    assert response.status_code == (200 if environment.debug else 404)
    if not environment.debug:
        assert response.json()["detail"] == unknown.json()["detail"]
