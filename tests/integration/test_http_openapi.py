"""The description of the API, and the pages that show it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from application.settings import Environment, HttpSettings
from application.use_cases.sessions.keys import GetTransportKey
from entrypoints.http.app import described_app
from entrypoints.http.envelope import ApiModel, CreatedEnvelope, Envelope
from entrypoints.http.router import Router
from entrypoints.http.security import (
    AuthenticatedRoute,
    CallerDep,
    HeaderRefreshTokenDep,
    PublicRoute,
)
from entrypoints.wiring import UseCase
from tests.support.web import Web, description
from tests.support.world import IN_MEMORY, World

PAGES = ("/docs", "/redoc")


def operations(*, debug: bool = True) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in description(debug=debug)["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


OPERATIONS = list(operations())


def names(value: object) -> str:
    return value if isinstance(value, str) else ""


every_operation = pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=names)


def resolved(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a response, or the shared one that it refers to."""
    reference = response.get("$ref")
    if reference is None:
        return response
    shared: Mapping[str, Any] = description()["components"]["responses"][
        reference.rpartition("/")[2]
    ]
    return shared


# --- operations ---------------------------------------------------------------------------------


@every_operation
def test_every_operation_says_what_it_is(
    method: str, path: str, operation: Mapping[str, Any]
) -> None:
    assert operation["tags"]
    assert operation["description"].endswith(".")
    assert re.fullmatch(r"[A-Z][a-z ]+", operation["summary"])
    assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", operation["operationId"])


def test_no_two_operations_have_the_same_id() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]

    assert len(set(ids)) == len(ids)


@every_operation
def test_every_operation_says_how_to_authenticate_even_public_ones(
    method: str, path: str, operation: Mapping[str, Any]
) -> None:
    schemes = description()["components"]["securitySchemes"]

    assert {name for way in operation["security"] for name in way} <= set(schemes)
    assert bool(operation["security"]) == ("401" in operation["responses"] and "/login" not in path)


@every_operation
def test_every_operation_describes_its_errors_as_problems(
    method: str, path: str, operation: Mapping[str, Any]
) -> None:
    errors = {status: r for status, r in operation["responses"].items() if int(status) >= 400}

    assert "500" in errors
    for status, response in errors.items():
        content = resolved(response)["content"]
        assert content.keys() == {"application/problem+json"}
        shown = content["application/problem+json"]
        assert shown["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert shown["example"]["status"] == int(status)
        assert (
            shown["example"].keys()
            == description()["components"]["schemas"]["Problem"]["properties"].keys()
        )


@every_operation
def test_every_body_and_every_success_comes_with_an_example(
    method: str, path: str, operation: Mapping[str, Any]
) -> None:
    bodies = operation.get("requestBody", {}).get("content", {}).values()
    successes = [
        content
        for status, response in operation["responses"].items()
        if status.startswith("2")
        for content in response["content"].values()
    ]

    assert successes
    for content in (*bodies, *successes):
        assert content["example"]
        assert "…]" not in str(content["example"])


@every_operation
def test_every_example_is_valid_in_its_schema(
    method: str, path: str, operation: Mapping[str, Any]
) -> None:
    contents = [
        *operation.get("requestBody", {}).get("content", {}).values(),
        *(
            content
            for response in operation["responses"].values()
            for media_type, content in resolved(response).get("content", {}).items()
            if media_type.endswith("json")
        ),
    ]

    for content in contents:
        if "schema" in content:
            assert_valid(content["example"], content["schema"])


def test_every_example_of_a_field_is_valid_in_its_schema() -> None:
    shown = [
        (f"{name}.{field}", example, part)
        for name, schema in description()["components"]["schemas"].items()
        for field, part in schema.get("properties", {}).items()
        for example in part.get("examples", ())
    ]

    assert len(shown) > 100
    for _, example, part in shown:
        assert_valid(example, part)


def assert_valid(example: object, schema: Mapping[str, Any]) -> None:
    document = {**schema, "components": description()["components"]}
    jsonschema_rs.validator_for(document, validate_formats=True).validate(example)


def test_the_bounds_of_a_field_are_those_of_the_domain() -> None:
    fields = description()["components"]["schemas"]["CreateUserBody"]["properties"]

    bounds = {name: fields[name]["maxLength"] for name in ("username", "email", "name")}
    assert bounds == {"username": 100, "email": 254, "name": 100}


def test_the_description_says_where_the_api_is() -> None:
    assert [server["url"] for server in description()["servers"]] == ["/"]


def test_an_example_is_what_a_client_would_send() -> None:
    log_in = description()["paths"]["/api/v1/auth/login"]["post"]
    example = log_in["requestBody"]["content"]["application/json"]["example"]

    assert example == {
        "username": "ada.lovelace",
        "password": "q2uWb3…base64…pA==",
        "kid": "m1p0HcV3TzD9o2gq8x7yJb6sR4uWnKfE5aLiQwZtXhM",
        "deviceToken": "wq0cTq3oJ0mXbqkS0m4pXc1c8w0nq3tJp7m9o1kE2bY",
    }


def test_headers_that_a_client_acts_on_are_described() -> None:
    shared = description()["components"]["responses"]

    assert "WWW-Authenticate" in shared["401"]["headers"]
    assert "Retry-After" in shared["429"]["headers"]
    assert "Retry-After" in shared["503"]["headers"]
    for response in shared.values():
        assert "X-Request-ID" in response["headers"]
    key_set = description()["paths"]["/.well-known/jwks.json"]["get"]["responses"]
    for status in ("200", "304"):
        assert key_set[status]["headers"].keys() == {"X-Request-ID", "ETag"}


def test_a_field_that_may_be_left_out_is_not_described_as_nullable() -> None:
    fields = description()["components"]["schemas"]["UpdateProfileBody"]["properties"]

    assert fields["name"]["type"] == "string"
    assert "default" not in fields["name"]


def test_openapi_has_no_validation_errors_of_fastapi() -> None:
    assert "HTTPValidationError" not in description()["components"]["schemas"]


# --- derived from what a route is ---------------------------------------------------------------


class ThingBody(ApiModel):
    name: str


public = Router(prefix="/fake/public", tags=["fake"], dependencies=[PublicRoute])
closed = Router(prefix="/fake/closed", tags=["fake"], dependencies=[AuthenticatedRoute])


@public.get("/plain")
async def plain() -> Envelope[None]:
    return Envelope(data=None)


@public.get("/limited")
async def limited(_: UseCase[GetTransportKey]) -> Envelope[None]:
    return Envelope(data=None)


@public.get("/filtered")
async def filtered(name: str) -> Envelope[None]:
    return Envelope(data=None)


@public.post("/sent")
async def sent(body: ThingBody) -> Envelope[None]:
    return Envelope(data=None)


@public.post("/refreshed")
async def refreshed(token: HeaderRefreshTokenDep) -> Envelope[None]:
    return Envelope(data=None)


@closed.get("/one/{thing_id}")
async def one(thing_id: str, caller: CallerDep) -> Envelope[None]:
    return Envelope(data=None)


@closed.post("/made", status_code=201)
async def made(body: ThingBody) -> CreatedEnvelope[ThingBody]:
    return CreatedEnvelope(data=body)


@closed.patch("/changed")
async def changed(body: ThingBody) -> Envelope[ThingBody]:
    return Envelope(data=body)


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("get", "/fake/public/plain", {200, 400, 500}),
        ("get", "/fake/public/limited", {200, 400, 429, 500, 503}),
        ("get", "/fake/public/filtered", {200, 400, 422, 500}),
        ("post", "/fake/public/sent", {200, 400, 413, 415, 422, 500}),
        ("post", "/fake/public/refreshed", {200, 400, 401, 500, 503}),
        ("get", "/fake/closed/one/{thing_id}", {200, 400, 401, 403, 404, 422, 500, 503}),
        ("post", "/fake/closed/made", {201, 400, 401, 403, 409, 413, 415, 422, 500, 503}),
        ("patch", "/fake/closed/changed", {200, 400, 401, 403, 409, 413, 415, 422, 500, 503}),
    ],
)
def test_a_route_documents_its_errors_without_its_author(
    method: str, path: str, statuses: set[int]
) -> None:
    operation = described_fakes()[path][method]

    assert {int(status) for status in operation["responses"]} == statuses


@pytest.mark.parametrize(
    ("method", "path", "security"),
    [
        ("get", "/fake/public/plain", []),
        ("post", "/fake/public/refreshed", [{"refreshToken": []}]),
        ("get", "/fake/closed/one/{thing_id}", [{"accessToken": []}]),
    ],
)
def test_a_route_documents_how_to_authenticate_without_its_author(
    method: str, path: str, security: list[dict[str, list[str]]]
) -> None:
    assert described_fakes()[path][method]["security"] == security


@cache
def described_fakes() -> Mapping[str, Any]:
    app = described_app(HttpSettings(), debug=False, routers=[public, closed])
    paths: Mapping[str, Any] = app.openapi()["paths"]
    return paths


# --- environments -------------------------------------------------------------------------------


def test_a_deployed_service_has_no_log_in_with_a_password_in_clear() -> None:
    deployed = description(debug=False)

    assert "/api/v1/auth/login/swagger" in description()["paths"]
    assert "/api/v1/auth/login/swagger" not in deployed["paths"]
    assert deployed["components"]["securitySchemes"].keys() == {"accessToken", "refreshToken"}


def test_the_authorize_button_knows_where_to_log_in() -> None:
    password = description()["components"]["securitySchemes"]["password"]

    assert password["flows"]["password"]["tokenUrl"] == "/api/v1/auth/login/swagger"


def test_everything_outside_of_the_prefix_is_on_the_short_list() -> None:
    outside = {path for _, path, _ in OPERATIONS if not path.startswith("/api/v1/")}

    assert outside == {"/.well-known/jwks.json", "/livez", "/readyz"}


# --- pages --------------------------------------------------------------------------------------


async def test_debug_environments_serve_the_description(web: Web) -> None:
    response = await web.client.get("/openapi.json")

    assert response.status_code == 200
    assert response.json() == description()


@pytest.mark.parametrize("environment", [Environment.STAGING, Environment.PRODUCTION])
@pytest.mark.parametrize("path", ["/", *PAGES, "/openapi.json", "/docs/assets/start.js"])
async def test_deployed_environments_serve_no_docs(path: str, environment: Environment) -> None:
    async with Web(World(replace(IN_MEMORY, environment=environment))) as web:
        response = await web.client.get(path)

    assert response.status_code == 404


async def test_the_address_alone_leads_to_the_documentation(web: Web) -> None:
    """By a relative address: a proxy may serve all of this under a prefix."""
    response = await web.client.get("/")

    assert (response.status_code, response.headers["location"]) == (307, "docs")


@pytest.mark.parametrize("page", PAGES)
async def test_the_pages_need_nothing_from_elsewhere(web: Web, page: str) -> None:
    response = await web.client.get(page)

    assert response.status_code == 200
    addresses = re.findall(r'(?:src|href|spec-url)="([^"]+)"', response.text)
    assert addresses
    for address in addresses:
        assert "//" not in address
        assert (await web.client.get(f"/{address}")).status_code == 200


@pytest.mark.parametrize("page", PAGES)
async def test_the_pages_run_no_inline_script(web: Web, page: str) -> None:
    response = await web.client.get(page)

    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert re.findall(r"<script[^>]*>([^<]*)</script>", response.text)
    assert not any(re.findall(r"<script[^>]*>([^<]+)</script>", response.text))
    assert " on" not in response.text.replace(" content", "")


async def test_scripts_are_served_as_scripts(web: Web) -> None:
    for name in ("swagger-ui-bundle.js", "redoc.standalone.js", "start.js"):
        response = await web.client.get(f"/docs/assets/{name}")

        assert response.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("name", ["secret.txt", "..%2Fcore.py", "%2e%2e%2fcore.py", "static"])
async def test_no_other_file_is_an_asset(web: Web, name: str) -> None:
    response = await web.client.get(f"/docs/assets/{name}")

    assert response.status_code == 404
