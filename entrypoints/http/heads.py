"""What the head of a request must be before anybody acts on it, and which methods a fixed path has."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.request_context import route_path

# uvicorn takes 2.0 and 0.9 for 1.1, whose framing they do not have.
_VERSIONS = frozenset({"1.0", "1.1"})
# A proxy that looked at the one would have decided about another request than we, who look at the other.
_AT_MOST_ONCE = frozenset({b"host", b"authorization", b"x-refresh-token", b"content-type"})
_LOOKED_AT = _AT_MOST_ONCE | {b"upgrade", b"transfer-encoding"}
# RFC 3986 §3.2.2, without addresses of the future; RFC 9110 §4.2.1: never empty.
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?"
)


class HeadMiddleware:
    """Refuses what RFC 9110 and RFC 9112 say must be refused, and the change to a protocol that is not served."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (fault := _fault(scope)):
            raise HTTPException(400, fault, headers={"Connection": "close"})
        await self._app(scope, receive, send)


def _fault(scope: Scope) -> str | None:
    version: str = scope["http_version"]
    if version not in _VERSIONS:
        return "This is no version of HTTP that is spoken here"
    fields: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _LOOKED_AT:
            if name in fields and name in _AT_MOST_ONCE:
                return f"The header {name.decode()} comes more than once"
            fields[name] = value
    host = fields.get(b"host", b"none" if version == "1.0" else b"")
    if not _HOST.fullmatch(host.strip(b" \t")):
        return "The header host is missing, or is no host"
    encoding = fields.get(b"transfer-encoding")
    if encoding is not None and (version == "1.0" or encoding.strip(b" \t").lower() != b"chunked"):
        return "The body has a transfer encoding that is not taken here"
    if b"websocket" in fields.get(b"upgrade", b"").lower():
        return "Nothing here speaks WebSocket"
    return None


FixedPaths: TypeAlias = Mapping[str, frozenset[str]]


def fixed_paths(routes: Sequence[BaseRoute]) -> FixedPaths:
    """Return the methods of each path without parameters: `/roles/all` has no PUT, whatever `/roles/{role_id}` has."""
    methods: dict[str, frozenset[str]] = {}
    for route in iter_route_contexts(routes):
        path = route.path
        if isinstance(route.original_route, APIRoute) and path and "{" not in path:
            methods[path] = methods.get(path, frozenset()) | (route.methods or set())
    return methods


class MethodMiddleware:
    """Keeps the templates beside a fixed path from taking the methods that it does not have."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            fixed: FixedPaths = scope["app"].state.fixed_paths
            methods = fixed.get(route_path(scope))
            if methods is not None and scope["method"] not in methods:
                raise HTTPException(405)
        await self._app(scope, receive, send)
