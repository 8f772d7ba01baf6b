"""Errors as problem details (RFC 9457), with the fields of the envelope too.

The only place where a kind of error is mapped to a status.
"""

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import Field
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PorticoError,
    PreconditionFailed,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from domain.identity import PasswordRejected
from domain.scheduling.errors import InvalidDefinition
from domain.sessions import InvalidToken, SessionCompromised
from entrypoints.http.envelope import ApiModel
from entrypoints.http.request_context import quoted_path, request_context, route_path

PROBLEM_JSON = "application/problem+json"

STATUS_OF_KIND: Mapping[type[PorticoError], HTTPStatus] = {
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
# Errors of HTTP itself, before any use case runs.
SLUG_OF_STATUS: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "http.malformed",
    HTTPStatus.NOT_FOUND: "http.not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "http.method_not_allowed",
    HTTPStatus.REQUEST_TIMEOUT: "http.request_timeout",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "http.too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "http.unsupported_media_type",
    HTTPStatus.UNPROCESSABLE_ENTITY: "http.invalid",
    HTTPStatus.PRECONDITION_REQUIRED: "http.precondition_required",
    HTTPStatus.INTERNAL_SERVER_ERROR: "http.internal_error",
}
_DETAIL_OF_STATUS: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "There is nothing at this path",
    HTTPStatus.METHOD_NOT_ALLOWED: "This path does not have that method; `Allow` says which it has",
    HTTPStatus.PRECONDITION_REQUIRED: (
        "Send the `ETag` of what you have read as `If-Match`, so that no change in between is lost"
    ),
}
_MAX_FIELD_ERRORS = 20

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.http")


class NotReady(Unavailable):
    """A dependency of this process does not answer."""

    code = "platform.not_ready"

    def __init__(self, down: Sequence[str]) -> None:
        super().__init__(", ".join(down))
        self.down = down


class FieldError(ApiModel):
    """One invalid field of a request. It never contains the sent value, which may be a password."""

    loc: Sequence[str | int] = Field(
        description="`body`, `query`, `path` or `header`, then the path to the field; or the name of a dependency.",
        examples=[["body", "newPassword"]],
    )
    msg: str = Field(description="The error, for people.", examples=["Field required"])
    type: str = Field(description="The error, for programs.", examples=["missing"])


class Problem(ApiModel):
    """An error (RFC 9457), with the fields `code`, `message`, `ts` and `data` of the envelope."""

    type: str = Field(
        description="`urn:portico:error:` and the code in `error`.",
        examples=["urn:portico:error:sessions.invalid_token"],
    )
    title: str = Field(description="The name of the error; stable.", examples=["Invalid token"])
    status: int = Field(description="The HTTP status.", examples=[401])
    detail: str = Field(
        description="The explanation of this occurrence, for people.",
        examples=["The token is not valid"],
    )
    instance: str = Field(description="The requested path.", examples=["/api/v1/auth/sessions"])
    code: int = Field(description="The HTTP status.", examples=[401])
    message: str = Field(description="The same as `detail`.", examples=["The token is not valid"])
    ts: int = Field(description="Time of the response, in Unix seconds.", examples=[1767225600])
    data: None = None
    error: str = Field(
        description="The stable code of the error, for programs.",
        examples=["sessions.invalid_token"],
    )
    request_id: str = Field(
        description="The `X-Request-ID` of the response; quote it when you ask for help.",
        examples=["6f1c2a9e0b3d4f5a8c7e9d0b1a2f3c4d"],
    )
    errors: Sequence[FieldError] = Field(
        default=(), description="The invalid fields of the request."
    )


def problem_response(scope: Scope, error: Exception) -> Response:
    """Return `error` as a problem; log what the client must not see."""
    context = request_context(scope)
    headers: dict[str, str] = {}
    errors: Sequence[FieldError] = ()
    match error:
        case PorticoError():
            status, slug, detail = status_of(error), error.code, error.detail
            if isinstance(error, InvalidDefinition):
                detail = "The definition has invalid fields"
            headers, errors = _headers(error), tuple(_field_errors(error))
            if isinstance(error, InvalidToken):
                context.reason = error.reason
            if isinstance(error, Unavailable):
                cause = type(error.__cause__).__name__ if error.__cause__ else None
                _log.warning("unavailable", dependency=error.dependency, cause=cause)
        case RequestValidationError(body=bytes()):
            # FastAPI passes the raw bytes on when the media type is not the one of the route.
            status, detail = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON as application/json"
            slug = SLUG_OF_STATUS[status]
        case RequestValidationError():
            status, detail = HTTPStatus.UNPROCESSABLE_ENTITY, "The request has invalid fields"
            slug = SLUG_OF_STATUS[status]
            errors = tuple(_to_field_error(e) for e in error.errors()[:_MAX_FIELD_ERRORS])
            if len(errors) == 1 and _is_domain_code(errors[0].type):
                # The same response as if the use case had refused the value.
                slug, detail = errors[0].type, errors[0].msg
        case HTTPException():
            status = HTTPStatus(error.status_code)
            detail = _DETAIL_OF_STATUS.get(status, error.detail)
            slug = SLUG_OF_STATUS.get(status, f"http.{status.name.lower()}")
            headers = dict(error.headers or {})
            if status is HTTPStatus.METHOD_NOT_ALLOWED:
                headers["Allow"] = _allowed_methods(scope)
        case _:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            detail = "Something went wrong here; it is logged with the request id"
            slug = SLUG_OF_STATUS[status]
            _log.error("unhandled error", exc_info=error)
    context.error = slug
    problem = Problem(
        type=f"urn:portico:error:{slug}",
        title=title_of(slug),
        status=status,
        detail=detail,
        instance=quoted_path(scope),
        code=status,
        message=detail,
        ts=int(time.time()),
        error=slug,
        request_id=context.request_id,
        errors=errors,
    )
    return Response(
        problem.model_dump_json(by_alias=True), status, headers, media_type=PROBLEM_JSON
    )


def status_of(error: PorticoError) -> HTTPStatus:
    """Return the status of an error's kind."""
    for kind in type(error).__mro__:
        if kind in STATUS_OF_KIND:
            return STATUS_OF_KIND[kind]
    raise TypeError(f"{type(error).__name__} has no status")


def title_of(slug: str) -> str:
    """Return `Email taken` for `identity.email_taken`."""
    return slug.partition(".")[2].replace("_", " ").capitalize()


def _headers(error: PorticoError) -> dict[str, str]:
    match error:
        case InvalidToken() | SessionCompromised():
            return {"WWW-Authenticate": 'Bearer realm="portico", error="invalid_token"'}
        case Unauthenticated():
            # Without `error`: the request has no credentials that could be wrong (RFC 6750 §3.1).
            return {"WWW-Authenticate": 'Bearer realm="portico"'}
        case RateLimited() | Unavailable():
            return {"Retry-After": str(_whole_seconds(error.retry_after))}
        case _:
            return {}


def _whole_seconds(duration: timedelta) -> int:
    return max(1, math.ceil(duration.total_seconds()))


def _field_errors(error: PorticoError) -> Iterator[FieldError]:
    match error:
        case InvalidDefinition():
            for field, problem in [*error.problems.items()][:_MAX_FIELD_ERRORS]:
                yield FieldError(loc=("body", *_field_path(field)), msg=problem, type=error.code)
        case Invalid():
            broken = error.rule if isinstance(error, PasswordRejected) else error.code
            yield FieldError(loc=("body", to_camel(error.field)), msg=error.detail, type=broken)
        case NotReady():
            for dependency in error.down:
                msg = "is not current" if dependency == "schema" else "does not answer"
                yield FieldError(loc=(dependency,), msg=msg, type="down")
        case _:
            return


def _field_path(field: str) -> Iterator[str]:
    """Yield the parts of a path such as `schedule.day_of_month`; names of a task's arguments stay as they are."""
    name, dot, inner = field.partition(".")
    yield str(_safe_name(to_camel(name)))
    if dot:
        yield str(_safe_name(inner if name == "kwargs" else to_camel(inner)))


def _to_field_error(error: Mapping[str, Any]) -> FieldError:
    kind: str = error["type"]
    message: str = error["msg"].removeprefix("Value error, ")
    if kind.endswith("_parsing"):
        # The text after the comma quotes the sent value.
        message = message.partition(",")[0]
    # An unknown field keeps the name that the client sent.
    parts = error["loc"] if kind == "extra_forbidden" else map(_to_camel, error["loc"])
    return FieldError(loc=tuple(map(_safe_name, parts)), msg=message, type=kind)


def _is_domain_code(kind: str) -> bool:
    """Return whether an error type is a code of the domain (`identity.invalid_email`); pydantic's have no dot."""
    return "." in kind


def _to_camel(part: str | int) -> str | int:
    return to_camel(part) if isinstance(part, str) else part


def _safe_name(part: str | int) -> str | int:
    """Return `part` if it looks like a field name, else an ellipsis: a name that a client sends may be a password."""
    if isinstance(part, str) and not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", part, re.ASCII):
        return "…"
    return part


def _allowed_methods(scope: Scope) -> str:
    """Return every method of the path (RFC 9110 §10.2.1); the router knows only those of its first match."""
    path = route_path(scope)
    allowed = set(scope["app"].route_table.methods.get(path, ()))
    if not allowed:
        for route in iter_route_contexts(scope["app"].routes):
            if route.methods and route.path_regex.match(path):
                allowed |= route.methods
    if "GET" in allowed:
        allowed.add("HEAD")
    return ", ".join(sorted(allowed))
