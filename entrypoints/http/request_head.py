"""Checks of the head of a request, before anything acts on it."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Scope
from websockets.http11 import Request
from websockets.server import ServerProtocol

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
    fault = _fault(scope["http_version"], scope["headers"], headers)
    if fault is None and b"upgrade" in headers:
        upgrade = b",".join(_values(scope["headers"], b"upgrade"))
        if b"websocket" in upgrade.lower():
            fault = "A WebSocket begins with a complete handshake, at the path of Socket.IO"
    if fault is not None:
        raise HTTPException(400, fault, headers={"Connection": "close"})


def is_handshake(url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Return whether a GET with these headers opens a WebSocket (RFC 6455 §4.2.1); their names are in lower case."""
    if _fault("1.1", headers, dict(reversed(headers))) is not None:
        return False
    # As uvicorn's protocol will do it with the same bytes. That one neither answers nor closes what it cannot read.
    protocol = ServerProtocol()
    lines = [b"GET %b HTTP/1.1" % url, *(b"%b: %b" % header for header in headers), b"", b""]
    protocol.receive_data(b"\r\n".join(lines))
    return any(
        protocol.accept(event).status_code == HTTPStatus.SWITCHING_PROTOCOLS
        for event in protocol.events_received()
        if isinstance(event, Request)
    )


def _fault(
    version: str, sent: Sequence[tuple[bytes, bytes]], headers: Mapping[bytes, bytes]
) -> str | None:
    if version not in _VERSIONS:
        return "This version of HTTP is not supported"
    if len(headers) < len(sent):
        for name in _SINGLE:
            if len(_values(sent, name)) > 1:
                return f"The header {name.decode()} is repeated"
    host = headers.get(b"host", b"none" if version == "1.0" else b"")
    if not _HOST.fullmatch(host.strip(b" \t")):
        return "The header host is missing or not valid"
    encoding = headers.get(b"transfer-encoding")
    if encoding is not None and (version == "1.0" or encoding.strip(b" \t").lower() != b"chunked"):
        return "The transfer encoding of the body is not supported"
    return None


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]
