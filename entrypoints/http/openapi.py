"""The OpenAPI 3.1 document. Error responses, security and examples are derived here from the declaration of each route.

The author of a route writes none of them.
"""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.params import Form
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic.alias_generators import to_camel
from starlette.types import ASGIApp

from domain.grants import PermissionCode
from entrypoints.http import health, security
from entrypoints.http.errors import PROBLEM_JSON, SLUG_OF_STATUS, Problem, title_of
from entrypoints.http.internals import in_layers_of
from entrypoints.http.preconditions import conditional_change, versioned_change
from entrypoints.http.route_table import RouteTable, TabledRouter
from entrypoints.http.router import DeclaredRoute, declarations_of
from entrypoints.http.v1 import PREFIX, TAGS, Tag
from entrypoints.wiring import Provided

Schema = dict[str, Any]

_DESCRIPTION = """\
Log in with `POST /api/v1/auth/login` and send the access token as `Authorization: Bearer …`. Every success has the
same envelope, every error is a problem (RFC 9457), and every response has an `X-Request-ID`.
"""
_TAGS = (*TAGS, Tag("health", "Liveness and readiness probes.", [health.router]))
_SCHEMES = {
    "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "refreshToken": {"type": "apiKey", "in": "header", "name": "X-Refresh-Token"},
}
_PASSWORD_SCHEME = {
    "type": "oauth2",
    "description": "Log-in for this page; only in debug environments.",
    "flows": {"password": {"tokenUrl": f"{PREFIX}/auth/login/swagger", "scopes": {}}},
}
_HEADERS = {
    "X-Request-ID": {
        "description": "The id of the request; quote it when you ask for help.",
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750).",
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "The version of the resource, for `If-None-Match` or `If-Match`.",
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "The address of the created resource.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Set-Cookie": {
        "description": "The `deviceToken` as a cookie; browsers return it only to the authentication routes.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds to wait before a retry.",
        "schema": {"type": "integer", "minimum": 1},
    },
}
# Status → the code of the example, and the description.
_ERRORS: Mapping[int, tuple[str, str]] = {
    400: (
        SLUG_OF_STATUS[400],
        "The request is malformed: invalid JSON, invalid headers, or contradictory fields.",
    ),
    401: ("sessions.invalid_token", "The token or the password is missing or invalid."),
    403: ("access.permission_denied", "The caller is authenticated but lacks the permission."),
    404: (SLUG_OF_STATUS[404], "The resource does not exist, or the caller may not see it."),
    409: ("identity.email_taken", "The change conflicts with stored data."),
    412: ("platform.precondition_failed", "`If-Match` does not match the current version."),
    413: (SLUG_OF_STATUS[413], "The body is too large."),
    415: (SLUG_OF_STATUS[415], "The media type of the body is not supported."),
    422: (SLUG_OF_STATUS[422], "A value is invalid; `errors` lists the fields."),
    428: (SLUG_OF_STATUS[428], "The change requires `If-Match`."),
    429: ("sessions.throttled", "Too many attempts."),
    500: (SLUG_OF_STATUS[500], "An unexpected error."),
    503: ("platform.unavailable", "A dependency is down or overloaded; nothing was changed."),
}
_FASTAPI_SUCCESS = "Successful Response"
_HEADERS_OF_STATUS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}


_CALLERS = (
    security.verify_permission,
    security.caller,
    security.caller_even_with_one_time_password,
    security.access_claims,
)
_WITH_ACCESS_TOKEN = (*_CALLERS, security.access_token)


class DescribedAPI(FastAPI):
    """A FastAPI application with a complete OpenAPI document."""

    def __init__(self, *, debug_environment: bool, **options: Any) -> None:  # noqa: ANN401 - FastAPI's own
        super().__init__(
            title="Portico",
            version=version("portico"),
            description=_DESCRIPTION,
            openapi_tags=[{"name": tag.name, "description": tag.description} for tag in _TAGS],
            servers=[{"url": "/", "description": "The host that serves this document."}],
            openapi_url=None,  # `docs` serves it, declared like every other route
            generate_unique_id_function=lambda route: to_camel(route.name),
            # Otherwise FastAPI checks at each request whether OpenTelemetry was configured.
            telemetry={"tracing": False, "metrics": False, "logs": False},
            **options,
        )
        self.router.route_class = DeclaredRoute
        self.route_table = RouteTable({}, {}, {})
        self._debug_environment = debug_environment

    def build_middleware_stack(self) -> ASGIApp:
        """Return our layers around the routes, without FastAPI's own: ours answer every error and bound every body."""
        return in_layers_of(self, TabledRouter(self.router))

    def openapi(self) -> Schema:
        if self.openapi_schema is None:
            self.openapi_schema = self._complete(super().openapi())
        return self.openapi_schema

    def _complete(self, document: Schema) -> Schema:
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        problem = Problem.model_json_schema(
            mode="serialization", ref_template="#/components/schemas/{model}"
        )
        schemas |= {**problem.pop("$defs"), "Problem": problem}
        components["headers"] = _HEADERS
        components["responses"] = {
            str(status): _error_response(status, schemas) for status in _ERRORS
        }
        components["securitySchemes"] = {
            **_SCHEMES,
            **({"password": _PASSWORD_SCHEME} if self._debug_environment else {}),
        }
        for route in iter_route_contexts(self.routes):
            for method in (route.methods or ()) if route.include_in_schema else ():
                operation = document["paths"][route.path_format][method.lower()]
                self._complete_operation(operation, RouteFacts(route, method), schemas)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        return document

    def _complete_operation(self, operation: Schema, facts: "RouteFacts", schemas: Schema) -> None:
        operation["summary"] = operation["summary"].capitalize()
        operation["security"] = list(facts.security(debug=self._debug_environment))
        if facts.permission is not None:
            operation["x-permission"] = facts.permission
            operation["description"] += f"\n\nRequires the permission `{facts.permission}`."
        for content in operation.get("requestBody", {}).get("content", {}).values():
            content["example"] = example(content["schema"], schemas)
        responses = operation["responses"]
        responses.pop("422", None)
        for response in responses.values():
            response["headers"] = _header_references(
                "X-Request-ID", *facts.success_headers(), *response.get("headers", ())
            )
            if response["description"] == _FASTAPI_SUCCESS:
                response["description"] = "Successful."
            for content in response.get("content", {}).values():
                content["example"] = example(content["schema"], schemas)
        for status in facts.error_statuses():
            responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
        operation["responses"] = dict(sorted(responses.items()))


class RouteFacts:
    """The security and the responses of a route, derived from its declaration."""

    def __init__(self, route: RouteContext, method: str) -> None:
        self._route, self._method = route, method
        self._calls = {*_calls(route.dependant), *declarations_of(route)}
        self._fields = _fields_of_data(route)
        self.is_guarded = security.verify_permission in self._calls
        self.is_created = route.status_code == HTTPStatus.CREATED
        self.is_versioned = "updated_at" in self._fields and (
            self.is_created or bool(route.dependant.path_params)
        )

    @property
    def permission(self) -> str | None:
        """The permission that the caller needs, if any."""
        path = str(self._route.path_format)
        return PermissionCode.of(self._method, path).value if self.is_guarded else None

    def security(self, *, debug: bool) -> Iterator[dict[str, list[str]]]:
        """Yield the alternative ways to authenticate; none for a public route."""
        if self._depends_on(*_WITH_ACCESS_TOKEN):
            yield {"accessToken": []}
            if debug:
                yield {"password": []}
        if self._depends_on(security.refresh_token):
            yield {"refreshToken": []}
            if self._route.body_field:
                yield {}  # the token may be in the body

    def success_headers(self) -> Iterator[str]:
        """Yield the headers of a success."""
        if self.is_created:
            yield "Location"
        if self.is_versioned:
            yield "ETag"

    def error_statuses(self) -> Iterator[int]:
        """Yield the statuses of the possible errors."""
        dependant, method = self._route.dependant, self._method
        body = self._route.body_field
        is_form = body is not None and isinstance(body.field_info, Form)
        possible = {
            400: True,
            401: self._depends_on(*_WITH_ACCESS_TOKEN, security.refresh_token)
            or "access_token" in self._fields,
            403: self.is_guarded
            or self._depends_on(security.caller)
            or (self.is_created and not self._depends_on(*_CALLERS)),
            404: HTTPStatus.NOT_FOUND in (self._route.responses or {})
            or bool(dependant.path_params)
            or "ids" in _fields_of_body(self._route),
            409: self.is_created
            or HTTPStatus.CONFLICT in (self._route.responses or {})
            or method in {"PUT", "PATCH"}
            or (self.is_guarded and method == "DELETE")
            or (self.is_guarded and method == "POST" and bool(dependant.path_params)),
            412: self._depends_on(conditional_change, versioned_change),
            413: body is not None,
            415: body is not None and not is_form,
            422: body is not None
            or not self._depends_on(
                security.public
            )  # such a route refuses a query that it does not take
            or any(d.path_params or d.query_params or d.header_params for d in _tree(dependant)),
            428: self._depends_on(versioned_change),
            429: any(isinstance(call, Provided) and call.is_limited for call in self._calls),
            500: True,
            503: bool(self._calls - {security.public}),
        }
        return (status for status, is_possible in possible.items() if is_possible)

    def _depends_on(self, *calls: Callable[..., Any]) -> bool:
        return not self._calls.isdisjoint(calls)


def example(schema: Schema, schemas: Mapping[str, Schema]) -> Any:  # noqa: ANN401 - any JSON
    """Return an example that `schema` accepts, built from the examples of its fields."""
    match schema:
        case (
            {"examples": [value, *_]}
            | {"const": value}
            | {"default": value}
            | {"enum": [value, *_]}
        ):
            return value
        case {"$ref": str(reference)}:
            return example(schemas[reference.rpartition("/")[2]], schemas)
        case {"anyOf": [first, *_]}:
            return example(first, schemas)
        case {"properties": dict(properties)}:
            return {name: example(part, schemas) for name, part in properties.items()}
        case {"type": "array", "items": dict(items)}:
            return [example(items, schemas)]
        case _:
            return None


def _error_response(status: int, schemas: Mapping[str, Schema]) -> Schema:
    slug, description = _ERRORS[status]
    problem = example(schemas["Problem"], schemas) | {
        "type": f"urn:portico:error:{slug}",
        "title": title_of(slug),
        "status": status,
        "detail": description,
        "code": status,
        "message": description,
        "error": slug,
    }
    if status != HTTPStatus.UNPROCESSABLE_ENTITY:
        problem["errors"] = []
    return {
        "description": description,
        "headers": _header_references("X-Request-ID", *_HEADERS_OF_STATUS.get(status, ())),
        "content": {
            PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": problem}
        },
    }


def _header_references(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _fields_of_data(route: RouteContext) -> Mapping[str, Any]:
    """Return the fields of the data in the envelope of a response."""
    fields: Mapping[str, Any] = getattr(route.response_model, "model_fields", {})
    if "data" in fields:
        fields = getattr(fields["data"].annotation, "model_fields", {})
    return fields


def _fields_of_body(route: RouteContext) -> Mapping[str, Any]:
    annotation = route.body_field.field_info.annotation if route.body_field else None
    fields: Mapping[str, Any] = getattr(annotation, "model_fields", {})
    return fields


def _tree(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for dependency in dependant.dependencies:
        yield from _tree(dependency)


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    for dependency in _tree(dependant):
        if dependency is not dependant and dependency.call is not None:
            yield dependency.call
