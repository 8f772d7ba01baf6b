"""The data about one request and its response that the layers of the HTTP entrypoint share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID

from starlette.types import Scope

from application.use_cases.caller import Caller
from entrypoints.http.internals import route_of

_KEY = "portico.request_context"
TRACE_ID = "portico.trace_id"
"""Its name in the scope, if the request is in a trace."""


@dataclass(slots=True)
class RequestContext:
    """Facts about one request and its response; dependencies and error handlers add theirs."""

    request_id: str
    headers: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """The first value of each header, by its name in lower case."""
    client: str = ""
    """The address of the client."""
    status: int | None = None
    """None until the response has started."""
    route: str | None = None
    """The template of the matched route, once the request has ended."""
    caller: Caller | None = None
    """The caller, once they are checked."""
    user_id: UUID | None = None
    trace_id: str | None = None
    error: str | None = None
    reason: str | None = None
    """The cause of the error, for the log only."""

    def header(self, name: bytes) -> str | None:
        """Return the first value of a header (its name in lower case)."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def log_fields(self) -> dict[str, object]:
        """Return the fields of the log line of this request that have a value."""
        found = {
            "user_id": self.user_id,
            "trace_id": self.trace_id,
            "error": self.error,
            "reason": self.reason,
        }
        return {key: value for key, value in found.items() if value}


def begin_request(
    scope: Scope, request_id: str, headers: Mapping[bytes, bytes], client: str = ""
) -> RequestContext:
    """Attach a new context to `scope`."""
    context = scope[_KEY] = RequestContext(
        request_id, headers, client, trace_id=scope.get(TRACE_ID)
    )
    return context


def request_context(scope: Scope) -> RequestContext:
    """Return the context of the request that `scope` describes."""
    context: RequestContext = scope[_KEY]
    return context


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a header (its name in lower case)."""
    return request_context(scope).header(name)


def route_path(scope: Scope) -> str:
    """Return the path without the prefix (`root_path`) that a proxy adds, as the routes declare it."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    inner = path.removeprefix(prefix)
    # `/app` is no prefix of `/application`.
    return inner if not inner or inner.startswith("/") else path


def quoted_path(scope: Scope) -> str:
    """Return the first 200 characters of the requested path as printable ASCII (RFC 3986 §2.1)."""
    return quote(scope["path"][:200], errors="replace")


def route_template(scope: Scope) -> str | None:
    """Return the full path template of the matched route, such as `/api/v1/auth/sessions/{session_id}`."""
    route: Any = route_of(scope) or scope.get("route")
    template: str | None = getattr(route, "path_format", None)
    return template
