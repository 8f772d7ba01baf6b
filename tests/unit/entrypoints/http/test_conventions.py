"""What every route shares: envelope, problems, headers, limits, and how it reads what it is sent."""

import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import APIRouter, Query, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import iter_route_contexts

from application.settings import CorsSettings, HttpSettings, Settings
from application.use_cases.caller import ClientInfo
from domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PorticoError,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from entrypoints.http.app import described_app
from entrypoints.http.envelope import ApiModel, CreatedEnvelope, Envelope, Text
from entrypoints.http.paging import Page, PageQuery
from entrypoints.http.router import Router
from entrypoints.http.security import ClientInfoDep, HeaderUserAgentDep, PublicRoute
from tests.support.builders import a_user
from tests.support.web import Web, description
from tests.support.world import IN_MEMORY, LAPTOP, World

LOG_IN = "/api/v1/auth/login"
JSON = {"Content-Type": "application/json"}
API_POLICY = "default-src 'none'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"

router = Router(prefix="/fake", dependencies=[PublicRoute])


class NoteBody(ApiModel):
    title_text: Text
    how_many: int = 1


@router.post("/notes", status_code=201)
async def make_note(body: NoteBody) -> CreatedEnvelope[NoteBody]:
    return CreatedEnvelope(data=body)


@router.get("/notes")
async def list_notes(
    query: Annotated[PageQuery[Literal["title", "-title"]], Query()],
) -> Envelope[Page[NoteBody]]:
    records = [NoteBody(title_text=f"note {query.request().offset + 1}")]
    return Envelope(data=Page(page=query.page, page_size=query.page_size, total=1, records=records))


@router.get("/client")
async def show_client(
    client: ClientInfoDep, agent: HeaderUserAgentDep
) -> Envelope[list[str | None]]:
    return Envelope(data=[client.address, agent])


@router.get("/url")
async def show_url(request: Request) -> Envelope[str]:
    return Envelope(data=str(request.url))


@router.get("/text")
@router.post("/text")
async def show_text(length: int) -> Envelope[str]:
    return Envelope(data="x" * length)


@router.get("/constant")
async def show_constant() -> Response:
    """Without the time, whose digits change how well an envelope can be compressed."""
    return JSONResponse("x" * 5000)


@router.get("/tagged")
async def show_tagged(response: Response) -> Envelope[str]:
    response.headers["ETag"] = '"1"'
    return Envelope(data="x" * 5000)


@router.get("/stream")
async def stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1000

    return StreamingResponse(chunks(), media_type="application/json")


@router.get("/things/all")
async def list_all_things() -> Envelope[None]:
    return Envelope(data=None)


@router.post("/things/all")
async def make_all_things() -> Envelope[None]:
    return Envelope(data=None)


@router.put("/things/{thing_id}")
@router.patch("/{kind}/all")
async def change_thing(thing_id: str = "", kind: str = "") -> Envelope[str]:
    return Envelope(data=thing_id or kind)


@router.get("/broken")
async def broken() -> Envelope[None]:
    raise RuntimeError("the secret is swordfish")


@router.get("/half")
async def half() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("no more")

    return StreamingResponse(chunks())


def failing(kind: type[PorticoError], *facts: Any, **named: Any) -> APIRouter:
    """Return a route that raises an error of `kind`."""

    class Failure(kind):  # type: ignore[misc,valid-type]  # the kind is what the test is about
        code = "fakes.failure"

    failing_router = Router(dependencies=[PublicRoute])

    @failing_router.get("/failing")
    async def fail() -> Envelope[None]:
        raise Failure(*facts, **named)

    return failing_router


@pytest.fixture
async def fake_web(world: World) -> AsyncIterator[Web]:
    async with Web(world, routers=[router]) as web:
        yield web


def with_http(**changes: Any) -> Settings:
    return replace(IN_MEMORY, http=HttpSettings(**changes))


# --- success ------------------------------------------------------------------------------------


async def test_a_success_is_an_envelope_whose_code_is_the_status(fake_web: Web) -> None:
    before = int(time.time())
    response = await fake_web.client.post("/fake/notes", json={"titleText": "hello"})

    assert response.status_code == 201
    envelope = response.json()
    assert envelope.keys() == {"code", "message", "ts", "data"}
    assert envelope["code"] == 201
    assert envelope["message"] == "Successful."
    assert before <= envelope["ts"] <= time.time()


@pytest.mark.parametrize(
    "body",
    [{"titleText": "hello", "howMany": 2}, {"title_text": "hello", "how_many": 2}],
    ids=["camelCase", "snake_case"],
)
async def test_both_cases_come_in_and_camel_case_goes_out(
    fake_web: Web, body: dict[str, Any]
) -> None:
    response = await fake_web.client.post("/fake/notes", json=body)

    assert response.json()["data"] == {"titleText": "hello", "howMany": 2}


async def test_a_list_that_can_grow_comes_in_pages(fake_web: Web) -> None:
    response = await fake_web.client.get("/fake/notes", params={"page": 3, "pageSize": 50})

    assert response.json()["data"] == {
        "page": 3,
        "pageSize": 50,
        "total": 1,
        "records": [{"titleText": "note 101", "howMany": 1}],
    }


async def test_a_page_may_be_asked_for_in_snake_case_too(fake_web: Web) -> None:
    response = await fake_web.client.get("/fake/notes", params={"page_size": 50})

    assert response.json()["data"]["pageSize"] == 50


@pytest.mark.parametrize(
    "query",
    [
        {"page": 0},
        {"page": -1},
        {"page": 10**9},
        {"page": 2**63},
        {"page": "one"},
        {"pageSize": 0},
        {"pageSize": 101},
        {"order": "random"},
    ],
    ids=str,
)
async def test_page_numbers_are_bounded_so_that_no_offset_overflows(
    fake_web: Web, query: dict[str, str | int]
) -> None:
    response = await fake_web.client.get("/fake/notes", params=query)

    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["query", *query]


async def test_a_route_that_takes_no_query_refuses_one_once_it_knows_the_caller(web: Web) -> None:
    path = "/api/v1/auth/user/info?howMany=1&color=red"
    known = await web.client.get(path, headers=await web.bearer(await web.world.given(a_user())))

    assert (await web.client.get(path)).status_code == 401
    assert known.status_code == 422
    assert known.json()["errors"] == [
        {
            "loc": ["query", name],
            "msg": "Extra inputs are not permitted",
            "type": "extra_forbidden",
        }
        for name in ("howMany", "color")
    ]


async def test_a_query_beside_a_body_is_refused(fake_web: Web) -> None:
    response = await fake_web.client.post("/fake/notes?dryRun=1", json={"titleText": "a"})

    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["query", "dryRun"]


async def test_a_public_page_has_the_fields_that_links_and_probes_add(web: Web) -> None:
    assert (await web.client.get("/livez?at=1")).status_code == 200


def test_queries_are_models_which_refuse_what_they_do_not_know(web: Web) -> None:
    for route in iter_route_contexts(web.app.routes):
        for field in getattr(route.original_route, "dependant", Dependant()).query_params:
            assert ApiModel in getattr(field.field_info.annotation, "__mro__", ()), route.path


# --- problems -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "facts", "named", "status"),
    [
        (NotFound, ["gone"], {}, 404),
        (Conflict, ["taken"], {}, 409),
        (Unauthenticated, ["who?"], {}, 401),
        (Forbidden, ["no"], {}, 403),
        (Invalid, ["wrong"], {"field": "new_password"}, 422),
        (RateLimited, ["slow"], {"retry_after": timedelta(seconds=3)}, 429),
        (Unavailable, ["redis"], {}, 503),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_the_kind_of_an_error_decides_its_status(
    world: World, kind: type[PorticoError], facts: list[str], named: dict[str, Any], status: int
) -> None:
    async with Web(world, routers=[failing(kind, *facts, **named)]) as web:
        response = await web.client.get("/failing")

    assert response.status_code == status
    problem = response.json()
    assert problem["error"] == "fakes.failure"
    assert problem["title"] == "Failure"
    assert problem["instance"] == "/failing"


async def test_an_invalid_value_says_which_field_in_the_words_of_the_client(world: World) -> None:
    async with Web(world, routers=[failing(Invalid, "is wrong", field="new_password")]) as web:
        response = await web.client.get("/failing")

    assert response.json()["errors"] == [
        {"loc": ["body", "newPassword"], "msg": "is wrong", "type": "fakes.failure"}
    ]


@pytest.mark.parametrize(
    ("wait", "shown"),
    [(timedelta(0), "1"), (timedelta(milliseconds=1), "1"), (timedelta(seconds=2.2), "3")],
)
async def test_retry_after_is_in_whole_seconds_and_never_too_early(
    world: World, wait: timedelta, shown: str
) -> None:
    async with Web(world, routers=[failing(RateLimited, "slow", retry_after=wait)]) as web:
        response = await web.client.get("/failing")

    assert response.headers["retry-after"] == shown


async def test_an_unknown_path_is_a_problem(web: Web) -> None:
    response = await web.client.get("/api/v1/nothing/here")

    assert response.status_code == 404
    assert response.json()["error"] == "http.not_found"
    assert response.json()["instance"] == "/api/v1/nothing/here"


async def test_a_wrong_method_is_a_problem_that_names_all_the_right_ones(web: Web) -> None:
    response = await web.client.put("/api/v1/auth/user/info")

    assert response.status_code == 405
    assert response.json()["error"] == "http.method_not_allowed"
    assert response.headers["allow"] == "GET, HEAD, PATCH"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_fixed_path_has_no_methods_of_the_templates_beside_it(
    fake_web: Web, method: str
) -> None:
    response = await fake_web.client.request(method, "/fake/things/all")

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, POST"


async def test_a_template_keeps_its_methods_everywhere_else(fake_web: Web) -> None:
    put = await fake_web.client.put("/fake/things/one")
    patch = await fake_web.client.patch("/fake/others/all")

    assert (put.json()["data"], patch.json()["data"]) == ("one", "others")


def fixed_and_templates() -> Iterator[tuple[str, str, str]]:
    """Yield each method that only a template beside a fixed path has, the path, and what it allows."""
    routes = [*iter_route_contexts(described_app(HttpSettings(), debug=True).routes)]
    allowed: dict[str, set[str]] = {}
    for route in routes:
        if "{" not in str(route.path):
            allowed.setdefault(str(route.path), set()).update(route.methods or ())
    for path, methods in allowed.items():
        others = {m for r in routes if r.path_regex.match(path) for m in r.methods or ()}
        allow = ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
        for method in sorted(others - methods):
            yield method, path, allow


FIXED_AND_TEMPLATES = list(fixed_and_templates())


def test_there_are_fixed_paths_beside_templates() -> None:
    assert ("PUT", "/api/v1/roles/all", "GET, HEAD") in FIXED_AND_TEMPLATES
    assert ("PUT", "/api/v1/periodic-tasks/preview", "POST") in FIXED_AND_TEMPLATES


@pytest.mark.parametrize(("method", "path", "allow"), FIXED_AND_TEMPLATES)
async def test_a_method_that_only_a_template_has_is_wrong_for_a_fixed_path(
    web: Web, method: str, path: str, allow: str
) -> None:
    response = await web.client.request(method, path)

    assert (response.status_code, response.headers["allow"]) == (405, allow)


@pytest.mark.parametrize("path", ["/livez/", "/api/v1/auth/keys/public/", "//livez"])
async def test_a_trailing_slash_is_another_path_and_nothing_redirects(web: Web, path: str) -> None:
    response = await web.client.get(f"http://portico.test{path}")

    assert response.status_code == 404


async def test_an_unexpected_error_says_nothing_about_its_cause(fake_web: Web) -> None:
    response = await fake_web.client.get("/fake/broken")

    assert response.status_code == 500
    assert response.json()["error"] == "http.internal_error"
    assert "swordfish" not in response.text
    assert "RuntimeError" not in response.text


async def test_a_response_that_breaks_off_is_not_mended(fake_web: Web) -> None:
    with pytest.raises(RuntimeError, match="no more"):
        await httpx.AsyncClient(transport=httpx.ASGITransport(fake_web.app)).get(
            "http://portico.test/fake/half"
        )


async def test_the_instance_of_a_problem_is_a_path_that_breaks_nothing(web: Web) -> None:
    response = await web.client.get("/api/%0d%0aSet-Cookie:%20a=b/%00/%ff?token=secret")

    assert response.status_code == 404
    assert response.json()["instance"].startswith("/api/%0D%0ASet-Cookie")
    assert "secret" not in response.text


# --- validation ---------------------------------------------------------------------------------


async def test_validation_errors_say_what_is_wrong_where(fake_web: Web) -> None:
    response = await fake_web.client.post("/fake/notes", json={"howMany": "many", "color": "red"})

    assert response.status_code == 422
    problem = response.json()
    assert problem["error"] == "http.invalid"
    assert problem["errors"] == [
        {"loc": ["body", "titleText"], "msg": "Field required", "type": "missing"},
        {
            "loc": ["body", "howMany"],
            "msg": "Input should be a valid integer",
            "type": "int_parsing",
        },
        {
            "loc": ["body", "color"],
            "msg": "Extra inputs are not permitted",
            "type": "extra_forbidden",
        },
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"username": "ada", "password": ["swordfish"]},
        {"username": "ada", "password": {"swordfish": "swordfish"}},
        {"username": "ada", "password": "x", "kid": ["swordfish"]},
        {"username": ["swordfish"], "password": "x"},
        {"username": "ada", "password": "x", "sword fish swordfish": 1},
        {"username": "swordfish" * 1000, "password": "x"},
        ["swordfish"],
        "swordfish",
    ],
    ids=str,
)
async def test_validation_errors_never_echo_what_was_sent(web: Web, body: Any) -> None:
    response = await web.client.post(LOG_IN, json=body)

    assert response.status_code == 422
    assert "swordfish" not in response.text


async def test_a_hundred_thousand_errors_are_not_a_hundred_thousand_lines(web: Web) -> None:
    body = {f"f{number}": 1 for number in range(1000)}

    response = await web.client.post(LOG_IN, json=body)

    assert response.status_code == 422
    assert len(response.json()["errors"]) == 20


@pytest.mark.parametrize("part", ["[]", "{}", "1"])
async def test_json_of_a_hundred_thousand_parts_is_refused_before_it_is_read(
    web: Web, part: str
) -> None:
    """A megabyte of brackets would keep everybody else waiting."""
    body = f"[{','.join([part] * 100_000)}]"
    bearer = await web.bearer(await web.world.given(a_user(is_admin=True)))

    response = await web.client.post("/api/v1/roles", content=body, headers=bearer | JSON)

    assert response.status_code == 400
    assert "over 10000 parts" in response.json()["detail"]


@pytest.mark.parametrize("text", ["nul\0inside", "x" * 1001], ids=["NUL", "too long"])
async def test_text_is_bounded_and_has_no_nul(fake_web: Web, text: str) -> None:
    response = await fake_web.client.post("/fake/notes", json={"titleText": text})

    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["body", "titleText"]


async def test_a_field_in_both_cases_at_once_is_refused(fake_web: Web) -> None:
    response = await fake_web.client.post(
        "/fake/notes", json={"titleText": "one", "title_text": "two"}
    )

    assert response.status_code == 422


# --- what is no JSON ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'username': 'a'}",
        b'{"username": "a",}',
        b"nonsense",
        b"\xff\xfe",
        b'{"username": "\xff", "password": "x"}',
        '\ufeff{"username": "a", "password": "x"}'.encode(),
        '{"username": "a", "password": "x"}'.encode("utf-16"),
        b'{"username": "a", "username": "b", "password": "x"}',
        b'{"username": "a", "password": "x", "kid": {"a": 1, "a": 1}}',
        b'{"username": "\\ud800", "password": "x"}',
        b'{"\\udfff": "a", "password": "x"}',
        b'{"username": NaN, "password": "x"}',
        b'{"username": Infinity, "password": "x"}',
        b'{"username": -Infinity, "password": "x"}',
        b'{"username": 1e999, "password": "x"}',
        b'{"username": ' + b"9" * 5000 + b', "password": "x"}',
        b"[" * 10_000,
        b'{"a":' * 3_000,
        b'{"username": "a"} {"password": "x"}',
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_json_that_parsers_could_read_differently_is_malformed(web: Web, body: bytes) -> None:
    response = await web.client.post(LOG_IN, content=body, headers=JSON)

    assert response.status_code == 400
    assert response.json()["error"] == "http.malformed"


async def test_a_hundred_thousand_brackets_are_malformed(fake_web: Web) -> None:
    for body in (b"[" * 100_000, b"[" * 50_000 + b"]" * 50_000):
        response = await fake_web.client.post("/fake/notes", content=body, headers=JSON)

        assert response.status_code == 400
        assert response.json()["error"] == "http.malformed"


async def test_escaped_characters_are_fine_when_they_are_whole(fake_web: Web) -> None:
    response = await fake_web.client.post(
        "/fake/notes", content=b'{"titleText": "\\u00e9\\ud83d\\ude00 \\\\ud800"}', headers=JSON
    )

    assert response.json()["data"]["titleText"] == "é😀 \\ud800"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ],
)
async def test_a_body_of_another_media_type_is_unsupported(web: Web, content_type: str) -> None:
    response = await web.client.post(
        LOG_IN,
        content=b'{"username": "a", "password": "x"}',
        headers={"Content-Type": content_type},
    )

    assert response.status_code == 415
    assert response.json()["error"] == "http.unsupported_media_type"


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"]
)
async def test_json_has_several_names(fake_web: Web, content_type: str) -> None:
    response = await fake_web.client.post(
        "/fake/notes", content=b'{"titleText": "a"}', headers={"Content-Type": content_type}
    )

    assert response.status_code == 201


async def test_a_missing_body_is_invalid_not_malformed(web: Web) -> None:
    response = await web.client.post(LOG_IN, headers=JSON)

    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"loc": ["body"], "msg": "Field required", "type": "missing"}
    ]


# --- limits -------------------------------------------------------------------------------------


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 1024):
        yield b" " * 1024


@pytest.mark.parametrize(
    ("path", "limit"), [("/fake/notes", 1024 * 1024), (LOG_IN, 16 * 1024)], ids=["any", "auth"]
)
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "content-length"])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_bodies_are_bounded_while_they_are_read(
    fake_web: Web, path: str, limit: int, content_type: str, *, chunked: bool
) -> None:
    for size, too_large in ((limit, False), (limit + 1024, True)):
        response = await fake_web.client.post(
            path,
            content=chunks(size) if chunked else b" " * size,
            headers={"Content-Type": content_type},
        )

        assert (response.status_code == 413) is too_large
        assert (response.json()["error"] == "http.too_large") is too_large


async def test_a_content_length_that_lies_changes_nothing(fake_web: Web) -> None:
    response = await fake_web.client.post(
        LOG_IN, content=chunks(17 * 1024), headers={**JSON, "Content-Length": "2"}
    )

    assert response.status_code == 413


@pytest.mark.parametrize("body", [b"{", b" " * 2 * 1024 * 1024], ids=["malformed", "too large"])
async def test_a_body_that_a_route_does_not_take_is_not_read(web: Web, body: bytes) -> None:
    response = await web.client.request("GET", "/livez", content=body, headers=JSON)

    assert response.status_code == 200


async def test_the_limits_are_settings() -> None:
    async with Web(World(with_http(body_limit=10, auth_body_limit=5)), routers=[router]) as web:
        statuses = [
            (await web.client.post(path, content=b" " * 8, headers=JSON)).status_code
            for path in ("/fake/notes", LOG_IN)
        ]

    assert statuses == [400, 413]


# --- the id of a request ------------------------------------------------------------------------


async def test_a_sane_request_id_is_kept(web: Web) -> None:
    for request_id in ("a", "9.A_z-0", "x" * 128):
        response = await web.client.get("/nothing", headers={"X-Request-ID": request_id})

        assert response.headers["x-request-id"] == request_id
        assert response.json()["requestId"] == request_id


@pytest.mark.parametrize("request_id", ["", "x" * 129, "a b", "a\tb", "a;b", "<script>", "é"])
async def test_any_other_request_id_is_replaced(web: Web, request_id: str) -> None:
    response = await web.client.get(
        "/livez", headers=[(b"X-Request-ID", request_id.encode("utf-8"))]
    )

    assert response.headers["x-request-id"] != request_id
    assert len(response.headers["x-request-id"]) == 32


async def test_every_request_has_an_id_of_its_own(web: Web) -> None:
    ids = {(await web.client.get("/livez")).headers["x-request-id"] for _ in range(10)}

    assert len(ids) == 10


# --- headers of every response ------------------------------------------------------------------


async def test_every_response_has_the_security_headers(fake_web: Web) -> None:
    client = fake_web.client
    responses = {
        200: await client.get("/livez"),
        201: await client.post("/fake/notes", json={"titleText": "a"}),
        304: await client.get("/.well-known/jwks.json", headers={"If-None-Match": "*"}),
        400: await client.post("/fake/notes", content=b"{", headers=JSON),
        401: await client.get("/api/v1/auth/sessions"),
        404: await client.get("/nothing"),
        405: await client.delete("/livez"),
        413: await client.post(LOG_IN, content=b" " * 20_000, headers=JSON),
        415: await client.post(LOG_IN, content=b"a", headers={"Content-Type": "text/plain"}),
        422: await client.post(LOG_IN, json={}),
        500: await client.get("/fake/broken"),
    }

    for status, response in responses.items():
        assert response.status_code == status
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["content-security-policy"] == API_POLICY
        assert response.headers["x-request-id"]
        if status != 304:
            assert response.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in response.headers


STAY_THERE = "max-age=31536000; includeSubDomains"


@pytest.mark.parametrize("path", ["/livez", "/nothing"])
async def test_behind_tls_browsers_get_strict_transport_security(path: str) -> None:
    async with Web(World(with_http(hsts=True))) as web:
        response = await web.client.get(f"https://portico.test{path}")
        plain = await web.client.get(path)

    assert response.headers["strict-transport-security"] == STAY_THERE
    assert "strict-transport-security" not in plain.headers


@pytest.mark.parametrize(
    ("reported", "is_tls"),
    [
        ([], False),
        (["https"], True),
        (["HTTPS"], True),
        (["http"], False),
        (["https, http"], False),
        (["http", "https"], True),
        (["gopher"], False),
        (["https;"], False),
    ],
    ids=str,
)
async def test_a_trusted_proxy_says_whether_the_client_speaks_tls(
    reported: list[str], *, is_tls: bool
) -> None:
    headers = [("X-Forwarded-Proto", value) for value in reported]
    trusted = (ip_network(f"{LAPTOP.address}/32"),)
    async with Web(World(with_http(hsts=True, trusted_proxies=trusted)), routers=[router]) as web:
        response = await web.client.get("/fake/url", headers=headers)
    async with Web(World(with_http(hsts=True)), routers=[router]) as web:
        untrusted = await web.client.get("/fake/url", headers=headers)

    scheme = "https" if is_tls else "http"
    assert response.json()["data"] == f"{scheme}://portico.test/fake/url"
    assert ("strict-transport-security" in response.headers) is is_tls
    assert untrusted.json()["data"] == "http://portico.test/fake/url"
    assert "strict-transport-security" not in untrusted.headers


# --- heads that must be refused (RFC 9110, RFC 9112) ---------------------------------------------

HOST = (b"Host", b"portico.test")


@pytest.mark.parametrize(
    "headers",
    [
        [HOST, HOST],
        [HOST, (b"Host", b"evil.example")],
        [(b"Host", b"")],
        [(b"Host", b"a/b?c")],
        [(b"Host", b"a b")],
        [(b"Host", b"user@portico.test")],
        [(b"Host", b"portico.test:http")],
        [(b"Host", b"portico.test:80:80")],
        [(b"Host", b"portico.test, evil.example")],
        [(b"Host", b"[::1")],
        [(b"Host", b"::1")],
        [(b"Host", b"%zz")],
        [(b"Host", "b\u00fccher.example".encode())],
        [HOST, (b"Authorization", b"Bearer a"), (b"Authorization", b"Bearer a")],
        [HOST, (b"X-Refresh-Token", b"a"), (b"X-Refresh-Token", b"b")],
        [HOST, (b"Content-Type", b"application/json"), (b"Content-Type", b"text/plain")],
        [HOST, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")],
        [HOST, (b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"WebSocket")],
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/livez", "/api/v1/auth/sessions", "/nothing"])
async def test_a_head_that_could_be_read_differently_is_malformed(
    web: Web, headers: list[tuple[bytes, bytes]], path: str
) -> None:
    request = web.client.build_request("GET", path)
    request.headers = httpx.Headers(headers)

    response = await web.client.send(request)

    assert response.status_code == 400
    assert response.json()["error"] == "http.malformed"
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize(
    "host",
    ["a", "portico.test", "PORTICO.test:8000", "x_y.test:", "127.0.0.1:1", "[::1]", "[::1]:8000"],
)
async def test_a_host_may_be_any_name_or_address(web: Web, host: str) -> None:
    response = await web.client.get("/livez", headers={"Host": host})

    assert response.status_code == 200


async def test_a_request_id_is_kept_in_a_refusal(web: Web) -> None:
    response = await web.client.get("/livez", headers={"Host": "a/b", "X-Request-ID": "mine"})

    assert response.json()["requestId"] == "mine"
    assert (web.logs[0]["status"], web.logs[0]["request_id"]) == (400, "mine")


# --- compression --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accepted", ["gzip", "GZIP", "deflate, gzip;q=0.5, br", "gzip ; q=1.0", "br,x-gzip"]
)
async def test_large_json_is_compressed_for_those_who_ask(fake_web: Web, accepted: str) -> None:
    for length in (5000, 100_000):
        response = await fake_web.client.get(
            "/fake/text", params={"length": length}, headers={"Accept-Encoding": accepted}
        )

        assert response.headers["content-encoding"] == "gzip"
        assert response.headers["vary"] == "Accept-Encoding"
        assert int(response.headers["content-length"]) < length / 10
        assert response.json()["data"] == "x" * length


@pytest.mark.parametrize(
    "accepted", ["identity", "", "br", "gzip;q=0", "gzip; q=0.000", "gzipped", "not-gzip"]
)
async def test_an_encoding_that_the_client_does_not_accept_is_not_sent(
    fake_web: Web, accepted: str
) -> None:
    response = await fake_web.client.get(
        "/fake/text", params={"length": 5000}, headers={"Accept-Encoding": accepted}
    )

    assert "content-encoding" not in response.headers
    assert response.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/fake/text?length=500"),
        ("POST", "/fake/text?length=5000"),
        ("GET", "/fake/tagged"),
        ("GET", "/fake/stream"),
        ("GET", "/docs/assets/swagger-ui.css"),
        ("GET", "/fake/text?length=many"),
    ],
    ids=[
        "small",
        "an answer that may have a token",
        "with an ETag",
        "a stream",
        "no JSON",
        "a problem",
    ],
)
async def test_everything_else_stays_as_it_is(fake_web: Web, method: str, path: str) -> None:
    response = await fake_web.client.request(method, path, headers={"Accept-Encoding": "gzip"})

    assert "content-encoding" not in response.headers
    assert "vary" not in response.headers


def test_no_answer_that_may_be_compressed_has_a_secret() -> None:
    """BREACH: who sees the length of an answer guesses what stands in it."""
    document = description()
    schemas = document["components"]["schemas"]

    def names(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if reference := part.get("$ref"):
                yield from names(schemas.get(reference.rpartition("/")[2], {}))
            yield from part.get("properties", {})
            for inner in part.values():
                yield from names(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from names(inner)

    shown = {
        method: {
            name
            for path in document["paths"].values()
            for name in names(path.get(method, {}).get("responses", {}))
        }
        for method in ("get", "post")
    }

    secrets = {"accessToken", "refreshToken", "oneTimePassword"}
    assert secrets <= shown["post"]
    assert secrets.isdisjoint(shown["get"])
    assert not {name for name in shown["get"] if "token" in name.lower()}


async def test_vary_is_complete_with_cors(cors_web: Web) -> None:
    response = await cors_web.client.get(
        "/fake/text?length=5000", headers={"Origin": ORIGIN, "Accept-Encoding": "gzip"}
    )

    assert response.headers["content-encoding"] == "gzip"
    assert {part.strip() for part in response.headers["vary"].split(",")} == {
        "Accept-Encoding",
        "Origin",
    }


async def test_head_has_the_length_of_what_get_would_send(fake_web: Web) -> None:
    get, head = [
        await fake_web.client.request(method, "/fake/constant", headers={"Accept-Encoding": "gzip"})
        for method in ("GET", "HEAD")
    ]

    assert head.headers["content-encoding"] == "gzip"
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.content == b""


# --- HEAD ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/livez", "/api/v1/auth/keys/public", "/nothing", "/docs"])
async def test_head_is_get_without_the_content(web: Web, path: str) -> None:
    get = await web.client.get(path)
    head = await web.client.head(path)

    assert head.status_code == get.status_code
    assert head.content == b""
    ours = {"x-request-id", "date"}
    assert {k: v for k, v in head.headers.items() if k not in ours} == {
        k: v for k, v in get.headers.items() if k not in ours
    }


async def test_head_is_no_way_around_a_log_in(web: Web) -> None:
    response = await web.client.head("/api/v1/auth/sessions")

    assert response.status_code == 401


# --- CORS ---------------------------------------------------------------------------------------

ORIGIN = "https://app.example.org"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-refresh-token",
}


@pytest.fixture
async def cors_web() -> AsyncIterator[Web]:
    settings = with_http(cors=CorsSettings(origins=(ORIGIN,), credentials=True))
    async with Web(World(settings), routers=[router]) as web:
        yield web


async def test_a_configured_origin_may_call(cors_web: Web) -> None:
    preflight = await cors_web.client.options(LOG_IN, headers=PREFLIGHT)
    response = await cors_web.client.get("/livez", headers={"Origin": ORIGIN})

    assert preflight.status_code == 200
    for answer in (preflight, response):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in answer.headers["vary"]
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "X-Request-ID" in response.headers["access-control-expose-headers"]


async def test_a_browser_can_read_errors_of_every_kind(cors_web: Web) -> None:
    client = cors_web.client
    responses = {
        404: await client.get("/nothing", headers={"Origin": ORIGIN}),
        413: await client.post(LOG_IN, content=b" " * 20_000, headers={"Origin": ORIGIN, **JSON}),
        500: await client.get("/fake/broken", headers={"Origin": ORIGIN}),
    }

    for status, response in responses.items():
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == ORIGIN


async def test_another_origin_may_not_call(cors_web: Web) -> None:
    preflight = await cors_web.client.options(
        LOG_IN, headers={**PREFLIGHT, "Origin": "https://evil.example"}
    )
    response = await cors_web.client.get("/livez", headers={"Origin": "https://evil.example"})

    assert preflight.status_code == 400
    assert preflight.json()["error"] == "http.malformed"
    for answer in (preflight, response):
        assert "access-control-allow-origin" not in answer.headers


async def test_without_configured_origins_no_other_origin_may_call(web: Web) -> None:
    preflight = await web.client.options(LOG_IN, headers=PREFLIGHT)

    assert preflight.status_code == 405
    assert "access-control-allow-origin" not in preflight.headers


# --- where a request comes from -----------------------------------------------------------------

PROXIES = (ip_network("192.0.2.0/24"), ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


async def address(
    forwarded: Sequence[str], *, trusted: Sequence[Any] = PROXIES, peer: str | None = "192.0.2.1"
) -> str:
    """Return where a request comes from that `peer` sends with the given `X-Forwarded-For` headers."""
    async with Web(World(with_http(trusted_proxies=tuple(trusted))), routers=[router]) as web:
        transport = httpx.ASGITransport(
            web.app,
            client=(peer, 1) if peer else None,  # type: ignore[arg-type]  # a Unix socket has no peer
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://portico.test") as client:
            response = await client.get(
                "/fake/client", headers=[("X-Forwarded-For", value) for value in forwarded]
            )
    shown: str = response.json()["data"][0]
    return shown


async def test_forwarded_addresses_count_only_from_trusted_proxies() -> None:
    assert await address(["198.51.100.7"], trusted=()) == "192.0.2.1"
    assert await address(["198.51.100.7"], peer="203.0.113.1") == "203.0.113.1"


@pytest.mark.parametrize(
    ("forwarded", "shown"),
    [
        ([], "192.0.2.1"),
        (["198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6", "198.51.100.7, 10.1.2.3"], "198.51.100.7"),
        (["6.6.6.6,198.51.100.7,10.1.2.3,fd00::1"], "198.51.100.7"),
        (["10.1.2.3, 10.4.5.6"], "10.1.2.3"),
        (["2001:db8::7"], "2001:db8::7"),
        (["[2001:db8::7]:443"], "2001:db8::7"),
        (["198.51.100.7:1234"], "198.51.100.7"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["fe80::1%eth0"], "fe80::1"),
        (["198.51.100.7, unknown"], "192.0.2.1"),
        (["198.51.100.7, unknown, 10.1.2.3"], "10.1.2.3"),
        (["198.51.100.7, "], "192.0.2.1"),
        (["'; DROP TABLE users; --"], "192.0.2.1"),
        (["0x7f000001"], "192.0.2.1"),
    ],
    ids=str,
)
async def test_the_client_is_the_last_address_that_is_not_trusted(
    forwarded: list[str], shown: str
) -> None:
    assert await address(forwarded) == shown


async def test_a_peer_without_an_address_is_this_machine() -> None:
    assert await address(["198.51.100.7"], peer=None) == "127.0.0.1"


# --- versions -----------------------------------------------------------------------------------


async def test_a_version_2_stands_beside_version_1(world: World) -> None:
    v2 = Router(prefix="/api/v2", dependencies=[PublicRoute])

    @v2.get("/auth/keys/public")
    async def get_transport_key_v2() -> Envelope[str]:
        return Envelope(data="another key")

    async with Web(world, routers=[v2]) as web:
        new = await web.client.get("/api/v2/auth/keys/public")
        old = await web.client.get("/api/v1/auth/keys/public")

    assert new.json()["data"] == "another key"
    assert old.json()["data"]["kid"] == "memory"


# --- text that stays text -----------------------------------------------------------------------


async def test_the_user_agent_is_what_was_sent(fake_web: Web) -> None:
    response = await fake_web.client.get("/fake/client", headers={"User-Agent": "thing/1.0"})

    assert response.json()["data"][1] == "thing/1.0"


async def test_json_is_utf_8(fake_web: Web) -> None:
    response = await fake_web.client.post("/fake/notes", json={"titleText": "Ada 🙂"})

    assert json.loads(response.content.decode("utf-8"))["data"]["titleText"] == "Ada 🙂"
    assert response.headers["content-type"] == "application/json"


async def test_the_same_world_answers_the_client_that_a_route_asks_for(fake_web: Web) -> None:
    await fake_web.world.given(a_user())
    client = ClientInfo(address="192.0.2.1", agent=fake_web.client.headers["user-agent"])

    response = await fake_web.client.get("/fake/client")

    assert response.json()["data"] == [client.address, client.agent]
