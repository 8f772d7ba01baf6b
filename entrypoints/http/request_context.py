"""What the layers of the HTTP entrypoint share about one request and its response."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import UUID

from starlette.types import Scope

from application.use_cases.caller import Caller
from entrypoints.http.internals import route_of

_KEY = "portico.request_context"


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
    caller: Caller | None = None
    """The caller, once they are checked."""
    user_id: UUID | None = None
    error: str | None = None
    reason: str | None = None
    """The cause of the error, for the log only."""

    def log_fields(self) -> dict[str, object]:
        """Return the fields of the log line of this request that have a value."""
        found = {"user_id": self.user_id, "error": self.error, "reason": self.reason}
        return {key: value for key, value in found.items() if value}


def begin_request(
    scope: Scope, request_id: str, headers: Mapping[bytes, bytes], client: str = ""
) -> RequestContext:
    """Attach a new context to `scope`."""
    context = scope[_KEY] = RequestContext(request_id, headers, client)
    return context


def request_context(scope: Scope) -> RequestContext:
    """Return the context of the request that `scope` describes."""
    context: RequestContext = scope[_KEY]
    return context


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a header (its name in lower case)."""
    value = request_context(scope).headers.get(name)
    return None if value is None else value.decode("latin-1")


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


Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]


def client_of(scope: Scope, trusted: Networks) -> tuple[str, str]:
    """Return the address of the client and its scheme; headers count only if a trusted proxy sent them.

    `X-Forwarded-For` is read from right to left: the first address that is not a trusted proxy is the client.
    `X-Forwarded-Proto` may be a list too: its last item, from the nearest proxy, counts. A peer without an
    address (a Unix socket) is the loopback address.
    """
    # Not uvicorn's ProxyHeadersMiddleware: it accepts any text as an address, and does not match an IPv4-mapped
    # IPv6 address with an IPv4 network.
    peer = scope.get("client")
    address = _parse(peer[0] if peer else "") or IPv4Address("127.0.0.1")
    scheme: str = scope["scheme"]
    if not trusted or not _among(address, trusted):
        return str(address), scheme
    return str(_reported_address(scope, address, trusted)), _reported_scheme(scope) or scheme


def _reported_address(
    scope: Scope, address: IPv4Address | IPv6Address, trusted: Networks
) -> IPv4Address | IPv6Address:
    values = [value for key, value in scope["headers"] if key == b"x-forwarded-for"]
    for hop in reversed(b",".join(values).decode("latin-1").split(",")):
        reported = _parse(hop)
        if reported is None:
            break
        address = reported
        if not _among(address, trusted):
            break
    return address


def _reported_scheme(scope: Scope) -> str | None:
    values = [value for key, value in scope["headers"] if key == b"x-forwarded-proto"]
    scheme = b",".join(values).decode("latin-1").rpartition(",")[2].strip().lower()
    return scheme if scheme in {"http", "https"} else None


def _among(address: IPv4Address | IPv6Address, networks: Networks) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Parse `1.2.3.4`, `1.2.3.4:5678`, `::1` or `[::1]:5678`; return None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
