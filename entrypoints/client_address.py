"""The address of a client: its own, or what a trusted proxy says."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from starlette.types import Scope

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
    address, text = _address_of_peer(peer[0] if peer else "")
    scheme: str = scope["scheme"]
    if not trusted or not _among(address, trusted):
        return text, scheme
    return str(_reported_address(scope, address, trusted)), _reported_scheme(scope) or scheme


@lru_cache(maxsize=4096)
def _address_of_peer(host: str) -> tuple[IPv4Address | IPv6Address, str]:
    """Return the address and its text, which takes longer to write than to find again."""
    address = _parse(host) or IPv4Address("127.0.0.1")
    return address, str(address)


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
