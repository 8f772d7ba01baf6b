"""Checks of the head of a request, before anything acts on it."""

import re
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import Scope

# uvicorn treats 2.0 and 0.9 as 1.1, although their framing differs.
_VERSIONS = frozenset({"1.0", "1.1"})
# With two values, a proxy may act on the one and we on the other.
_SINGLE = (b"host", b"authorization", b"x-refresh-token", b"content-type", b"transfer-encoding")
# RFC 3986 §3.2.2 without IPvFuture; RFC 9110 §4.2.1: never empty.
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?"
)


def check_head(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """Raise 400 for what RFC 9110 and RFC 9112 require to refuse, and for WebSocket.

    `headers` has the first value of each header.
    """
    if fault := _fault(scope, headers):
        raise HTTPException(400, fault, headers={"Connection": "close"})


def _fault(scope: Scope, headers: Mapping[bytes, bytes]) -> str | None:
    version: str = scope["http_version"]
    if version not in _VERSIONS:
        return "This version of HTTP is not supported"
    upgrade = headers.get(b"upgrade", b"")
    if len(headers) < len(scope["headers"]):
        for name in _SINGLE:
            if len(_values(scope, name)) > 1:
                return f"The header {name.decode()} is repeated"
        upgrade = b",".join(_values(scope, b"upgrade"))
    host = headers.get(b"host", b"none" if version == "1.0" else b"")
    if not _HOST.fullmatch(host.strip(b" \t")):
        return "The header host is missing or not valid"
    encoding = headers.get(b"transfer-encoding")
    if encoding is not None and (version == "1.0" or encoding.strip(b" \t").lower() != b"chunked"):
        return "The transfer encoding of the body is not supported"
    if b"websocket" in upgrade.lower():
        return "WebSocket is not supported"
    return None


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]
