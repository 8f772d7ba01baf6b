"""The description of the API (OpenAPI 3.1): what operations have in common is derived here from what each route is.

A route's author writes neither error responses nor security nor examples.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.params import Form
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic.alias_generators import to_camel

from domain.access import PermissionCode
from entrypoints.http import security
from entrypoints.http.errors import PROBLEM_JSON, SLUG_OF_STATUS, Problem, title_of
from entrypoints.http.preconditions import conditional_change, versioned_change
from entrypoints.http.v1 import PREFIX
from entrypoints.http.wiring import Provided

Schema = dict[str, Any]

_DESCRIPTION = """\
Log in with `POST /api/v1/auth/login` and send the access token as `Authorization: Bearer …`. Every success has one
envelope, every error is a problem (RFC 9457) in the same words, and every response has an `X-Request-ID`.
"""
_TAGS = (
    {"name": "sessions", "description": "Keys, log-in, refresh, log-out, devices."},
    {"name": "identity", "description": "Users, accounts and passwords."},
    {"name": "access", "description": "Roles, and the permissions that they give."},
    {"name": "documents", "description": "The audit log."},
    {"name": "scheduling", "description": "Periodic tasks, their runs, and who publishes them."},
    {"name": "health", "description": "For those who operate the service."},
)
_SCHEMES = {
    "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "refreshToken": {"type": "apiKey", "in": "header", "name": "X-Refresh-Token"},
}
_PASSWORD_SCHEME = {
    "type": "oauth2",
    "description": "For this page alone: deployed environments have no such log-in.",
    "flows": {"password": {"tokenUrl": f"{PREFIX}/auth/login/swagger", "scopes": {}}},
}
_HEADERS = {
    "X-Request-ID": {
        "description": "What to quote when asking for help.",
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750).",
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "The version of this answer, for `If-None-Match` or `If-Match`.",
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "Where to find what was made.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Set-Cookie": {
        "description": "The `deviceToken`, for browsers; sent back to the routes of authentication alone.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which asking again makes sense.",
        "schema": {"type": "integer", "minimum": 1},
    },
}
# Status → the error that is the example, and when it comes.
_ERRORS: Mapping[int, tuple[str, str]] = {
    400: (
        SLUG_OF_STATUS[400],
        "The request is malformed: no acceptable JSON, or at odds with itself.",
    ),
    401: ("sessions.invalid_token", "The token or the password is missing or not valid."),
    403: ("access.permission_denied", "The caller is known and may not do this."),
    404: (SLUG_OF_STATUS[404], "There is no such thing, or not for this caller."),
    409: ("identity.email_taken", "The change contradicts what is stored."),
    412: ("platform.precondition_failed", "The version in `If-Match` is not the present one."),
    413: (SLUG_OF_STATUS[413], "The body is too large."),
    415: (SLUG_OF_STATUS[415], "The body is not of the media type that this takes."),
    422: (SLUG_OF_STATUS[422], "A value breaks a rule; `errors` says which."),
    428: (SLUG_OF_STATUS[428], "This change needs `If-Match`."),
    429: ("sessions.throttled", "Too many attempts."),
    500: (SLUG_OF_STATUS[500], "Something went wrong here."),
    503: ("platform.unavailable", "Something this needs is down or full; nothing was changed."),
}
_FASTAPI_SUCCESS = "Successful Response"
_HEADERS_OF_STATUS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}


class DescribedAPI(FastAPI):
    """A FastAPI application that describes itself in full."""

    def __init__(self, *, debug_environment: bool, **options: Any) -> None:  # noqa: ANN401 - FastAPI's own
        super().__init__(
            title="Portico",
            version=version("portico"),
            description=_DESCRIPTION,
            openapi_tags=[dict(tag) for tag in _TAGS],
            servers=[{"url": "/", "description": "The host that this description came from."}],
            openapi_url=None,  # `docs` serves it, declared like every other route
            generate_unique_id_function=lambda route: to_camel(route.name),
            **options,
        )
        self._debug_environment = debug_environment

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
                self._complete_operation(operation, RouteFacts.of(route, method), schemas)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        return document

    def _complete_operation(self, operation: Schema, facts: "RouteFacts", schemas: Schema) -> None:
        operation["summary"] = operation["summary"].capitalize()
        operation["security"] = list(facts.security(debug=self._debug_environment))
        if facts.permission is not None:
            operation["x-permission"] = facts.permission
            operation["description"] += f"\n\nNeeds the permission `{facts.permission}`."
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


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """What a route is, as far as its answers depend on it."""

    permission: str | None
    authenticated: bool
    closed_to_one_time_passwords: bool
    takes_access_token: bool
    takes_refresh_token: bool
    hands_out_tokens: bool
    is_limited: bool
    takes_form: bool
    takes_body: bool
    takes_parameters: bool
    names_a_thing: bool
    creates: bool
    may_conflict: bool
    asks_somebody: bool
    takes_version: bool
    needs_version: bool
    has_version: bool

    @classmethod
    def of(cls, route: RouteContext, method: str) -> "RouteFacts":
        """Look at a route."""
        dependant: Dependant = route.dependant
        calls = set(_calls(dependant))
        is_guarded = security.permitted_caller in calls
        is_authenticated_only = security.caller in calls
        creates = route.status_code == HTTPStatus.CREATED
        fields = getattr(route.response_model, "model_fields", {})
        data = (
            getattr(fields["data"].annotation, "model_fields", {}) if "data" in fields else fields
        )
        return cls(
            permission=(
                PermissionCode.of(method, str(route.path_format)).value if is_guarded else None
            ),
            authenticated=is_guarded
            or is_authenticated_only
            or not calls.isdisjoint({security.caller_with_any_password, security.access_claims}),
            closed_to_one_time_passwords=is_guarded or is_authenticated_only,
            takes_access_token=security.access_token in calls,
            takes_refresh_token=security.refresh_token in calls,
            hands_out_tokens="access_token" in data,
            is_limited=any(isinstance(call, Provided) and call.is_limited for call in calls),
            takes_form=route.body_field is not None
            and isinstance(route.body_field.field_info, Form),
            takes_body=route.body_field is not None,
            takes_parameters=any(
                d.path_params or d.query_params or d.header_params for d in _tree(dependant)
            ),
            names_a_thing=bool(dependant.path_params) or "ids" in _fields_of_body(route),
            creates=creates,
            may_conflict=creates
            or method in {"PUT", "PATCH"}
            or (method == "DELETE" and is_guarded)
            or (method == "POST" and is_guarded and bool(dependant.path_params)),
            asks_somebody=bool(calls - {security.public}),
            takes_version=not calls.isdisjoint({conditional_change, versioned_change}),
            needs_version=versioned_change in calls,
            has_version="updated_at" in data and (bool(dependant.path_params) or creates),
        )

    def security(self, *, debug: bool) -> Iterator[dict[str, list[str]]]:
        """Yield the ways to authenticate, any of which is enough; none for everybody."""
        if self.authenticated or self.takes_access_token:
            yield {"accessToken": []}
            if debug:
                yield {"password": []}
        if self.takes_refresh_token:
            yield {"refreshToken": []}
            if self.takes_body:
                yield {}  # the body has the token

    def success_headers(self) -> Iterator[str]:
        """Yield the headers that a success has."""
        if self.creates:
            yield "Location"
        if self.has_version:
            yield "ETag"

    def error_statuses(self) -> Iterator[int]:
        """Yield the statuses of the errors that can be the answer."""
        takes_token = self.authenticated or self.takes_access_token or self.takes_refresh_token
        possible = {
            400: True,
            401: takes_token or self.hands_out_tokens,
            403: self.closed_to_one_time_passwords or (self.creates and not self.authenticated),
            404: self.names_a_thing,
            409: self.may_conflict,
            412: self.takes_version,
            413: self.takes_body,
            415: self.takes_body and not self.takes_form,
            422: self.takes_body or self.takes_parameters,
            428: self.needs_version,
            429: self.is_limited,
            500: True,
            503: self.asks_somebody,
        }
        return (status for status, is_possible in possible.items() if is_possible)


def example(schema: Schema, schemas: Mapping[str, Schema]) -> Any:  # noqa: ANN401 - any JSON
    """Return a value that `schema` accepts, from the examples of its fields."""
    match schema:
        case (
            {"examples": [shown, *_]}
            | {"const": shown}
            | {"default": shown}
            | {"enum": [shown, *_]}
        ):
            return shown
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
    shown = example(schemas["Problem"], schemas) | {
        "type": f"urn:portico:error:{slug}",
        "title": title_of(slug),
        "status": status,
        "detail": description,
        "code": status,
        "message": description,
        "error": slug,
    }
    if status != HTTPStatus.UNPROCESSABLE_ENTITY:
        shown["errors"] = []
    return {
        "description": description,
        "headers": _header_references("X-Request-ID", *_HEADERS_OF_STATUS.get(status, ())),
        "content": {
            PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": shown}
        },
    }


def _header_references(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


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
