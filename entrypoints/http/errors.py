"""How errors look: problem details (RFC 9457) that a reader of the envelope understands too.

The one place where a kind of error becomes a status.
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
from starlette.requests import Request
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
# What HTTP itself finds wrong, before any use case is asked.
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
    """Some of what this process needs does not answer."""

    code = "platform.not_ready"

    def __init__(self, down: Sequence[str]) -> None:
        super().__init__(", ".join(down))
        self.down = down


class NotAdmitted(HTTPException):
    """A caller was refused before their body was read.

    FastAPI lets no other errors through where it reads a body: it takes them for those of a malformed one.
    """

    def __init__(self, refusal: Exception) -> None:
        super().__init__(HTTPStatus.UNAUTHORIZED)
        self.refusal = refusal


class FieldError(ApiModel):
    """One thing that is wrong with one part of a request. Never what was sent: it may be a password."""

    loc: Sequence[str | int] = Field(
        description="`body`, `query`, `path` or `header`, then the way to the field; or a dependency.",
        examples=[["body", "newPassword"]],
    )
    msg: str = Field(description="What is wrong, for people.", examples=["Field required"])
    type: str = Field(description="What is wrong, for programs.", examples=["missing"])


class Problem(ApiModel):
    """An error (RFC 9457). `code`, `message`, `ts` and `data` are where the envelope has them."""

    type: str = Field(
        description="`urn:portico:error:` and the error.",
        examples=["urn:portico:error:sessions.invalid_token"],
    )
    title: str = Field(
        description="What kind of error this is; never changes.", examples=["Invalid token"]
    )
    status: int = Field(description="The HTTP status.", examples=[401])
    detail: str = Field(
        description="What happened this time, for people.", examples=["The token is not valid"]
    )
    instance: str = Field(description="The path asked for.", examples=["/api/v1/auth/sessions"])
    code: int = Field(description="The HTTP status.", examples=[401])
    message: str = Field(description="The same as `detail`.", examples=["The token is not valid"])
    ts: int = Field(description="When this was answered, in Unix seconds.", examples=[1767225600])
    data: None = None
    error: str = Field(
        description="The stable code of the error, for programs.",
        examples=["sessions.invalid_token"],
    )
    request_id: str = Field(
        description="What to quote when asking for help; the `X-Request-ID` of the response.",
        examples=["6f1c2a9e0b3d4f5a8c7e9d0b1a2f3c4d"],
    )
    errors: Sequence[FieldError] = Field(
        default=(), description="What is wrong with which part of the request."
    )


async def problem_handler(request: Request, error: Exception) -> Response:
    """Answer an error that a route raised; Starlette calls it."""
    return problem_response(
        request.scope, error.refusal if isinstance(error, NotAdmitted) else error
    )


def problem_response(scope: Scope, error: Exception) -> Response:
    """Return how `error` looks to the client; log what the client must not see."""
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
            # FastAPI hands a body on as it came when its media type is not the route's.
            status, detail = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON as application/json"
            slug = SLUG_OF_STATUS[status]
        case RequestValidationError():
            status, detail = HTTPStatus.UNPROCESSABLE_ENTITY, "The request has invalid fields"
            slug = SLUG_OF_STATUS[status]
            errors = tuple(_to_field_error(e) for e in error.errors()[:_MAX_FIELD_ERRORS])
            if len(errors) == 1 and _is_of_the_domain(errors[0].type):
                # The same answer as if the use case had refused the value.
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
            detail = "Something went wrong here; it has been noted under the request id"
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
    raise TypeError(f"{type(error).__name__} is of no kind")


def title_of(slug: str) -> str:
    """Return `Email taken` for `identity.email_taken`."""
    return slug.partition(".")[2].replace("_", " ").capitalize()


def _headers(error: PorticoError) -> dict[str, str]:
    match error:
        case InvalidToken() | SessionCompromised():
            return {"WWW-Authenticate": 'Bearer realm="portico", error="invalid_token"'}
        case Unauthenticated():
            # Without `error`: nothing was shown that could be wrong (RFC 6750 §3.1).
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
    """Yield the names that lead to `schedule.day_of_month`; those of arguments are the task's, not ours."""
    name, dot, inner = field.partition(".")
    yield str(_name_or_nothing(to_camel(name)))
    if dot:
        yield str(_name_or_nothing(inner if name == "kwargs" else to_camel(inner)))


def _to_field_error(error: Mapping[str, Any]) -> FieldError:
    kind: str = error["type"]
    message: str = error["msg"].removeprefix("Value error, ")
    if kind.endswith("_parsing"):
        # What follows the comma quotes what was sent.
        message = message.partition(",")[0]
    # A field that should not be there keeps the name it came with.
    parts = error["loc"] if kind == "extra_forbidden" else map(_in_camel_case, error["loc"])
    return FieldError(loc=tuple(map(_name_or_nothing, parts)), msg=message, type=kind)


def _is_of_the_domain(kind: str) -> bool:
    """Tell whether an error's type is a code of ours, such as `identity.invalid_email`; pydantic's have no dot."""
    return "." in kind


def _in_camel_case(part: str | int) -> str | int:
    return to_camel(part) if isinstance(part, str) else part


def _name_or_nothing(part: str | int) -> str | int:
    """Keep what looks like the name of a field; a client chooses the rest, and it may be a password."""
    if isinstance(part, str) and not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", part, re.ASCII):
        return "…"
    return part


def _allowed_methods(scope: Scope) -> str:
    """Return every method of the path (RFC 9110 §10.2.1); the router knows only those of its first match."""
    path = route_path(scope)
    allowed = set(scope["app"].state.fixed_paths.get(path, ()))
    if not allowed:
        for route in iter_route_contexts(scope["app"].routes):
            if route.methods and route.path_regex.match(path):
                allowed |= route.methods
    if "GET" in allowed:
        allowed.add("HEAD")
    return ", ".join(sorted(allowed))
