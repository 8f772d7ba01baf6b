"""What the layers of the HTTP entrypoint tell each other about one request and its response."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import UUID

from starlette.types import Scope

from application.use_cases.caller import Caller

_KEY = "portico.exchange"


@dataclass(slots=True)
class Exchange:
    """One request and its response; dependencies and error handlers add what they find out."""

    request_id: str
    client: str = ""
    """The address of the client."""
    status: int | None = None
    """None until the response has begun."""
    admission: tuple[object, Caller, float] | None = None
    """What was asked about the caller, who they are, and when that was found out (monotonic seconds)."""
    user_id: UUID | None = None
    error: str | None = None
    reason: str | None = None
    """Why, for the log only."""

    def findings(self) -> dict[str, object]:
        """Return what was found out about the request, for its log line."""
        found = {"user_id": self.user_id, "error": self.error, "reason": self.reason}
        return {key: value for key, value in found.items() if value}


def begin(scope: Scope, request_id: str, client: str = "") -> Exchange:
    """Attach a new exchange to `scope`."""
    exchange = scope[_KEY] = Exchange(request_id, client)
    return exchange


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange that `scope` belongs to."""
    exchange: Exchange = scope[_KEY]
    return exchange


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a header (its name in lower case)."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def route_path(scope: Scope) -> str:
    """Return the path as the routes know it, without what a proxy put before it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def quoted_path(scope: Scope) -> str:
    """Return the path that was asked for as printable ASCII (RFC 3986 §2.1), cut to where it gets absurd."""
    return quote(scope["path"][:200], errors="replace")


def route_template(scope: Scope) -> str | None:
    """Return the full path template of the route that was chosen, such as `/api/v1/auth/sessions/{session_id}`."""
    # An included router keeps the whole template here; `scope["route"]` lacks the prefixes.
    context: Any = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    template: str | None = getattr(context, "path_format", None)
    return template


Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]


def client_of(scope: Scope, trusted: Networks) -> tuple[str, str]:
    """Return the address of the client and the scheme it uses, as far as those who report them are trusted.

    `X-Forwarded-For` is read from its end, where the nearest proxy wrote, past every trusted address: the first
    one that is not trusted is the client, whatever stands before it. Of `X-Forwarded-Proto` the last word counts, that
    of the nearest proxy. Without a peer (a Unix socket) the address is loopback.
    """
    # Not uvicorn's ProxyHeadersMiddleware: it takes any text for an address, and IPv4 in IPv6 for another network.
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
    """Read `1.2.3.4`, `1.2.3.4:5678`, `::1` or `[::1]:5678`; None for anything else."""
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
