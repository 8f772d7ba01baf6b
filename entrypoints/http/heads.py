"""Checks the head of a request before anything acts on it, and the methods of fixed paths."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.request_context import route_path

# uvicorn treats 2.0 and 0.9 as 1.1, although their framing differs.
_VERSIONS = frozenset({"1.0", "1.1"})
# With two values, a proxy may act on the one and we on the other.
_SINGLE = frozenset({b"host", b"authorization", b"x-refresh-token", b"content-type"})
_INSPECTED = _SINGLE | {b"upgrade", b"transfer-encoding"}
# RFC 3986 §3.2.2 without IPvFuture; RFC 9110 §4.2.1: never empty.
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?"
)


class HeadMiddleware:
    """Refuses the requests that RFC 9110 and RFC 9112 require to refuse, and upgrades to WebSocket."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (fault := _fault(scope)):
            raise HTTPException(400, fault, headers={"Connection": "close"})
        await self._app(scope, receive, send)


def _fault(scope: Scope) -> str | None:
    version: str = scope["http_version"]
    if version not in _VERSIONS:
        return "This version of HTTP is not supported"
    fields: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _INSPECTED:
            if name in fields and name in _SINGLE:
                return f"The header {name.decode()} is repeated"
            fields[name] = value
    host = fields.get(b"host", b"none" if version == "1.0" else b"")
    if not _HOST.fullmatch(host.strip(b" \t")):
        return "The header host is missing or not valid"
    encoding = fields.get(b"transfer-encoding")
    if encoding is not None and (version == "1.0" or encoding.strip(b" \t").lower() != b"chunked"):
        return "The transfer encoding of the body is not supported"
    if b"websocket" in fields.get(b"upgrade", b"").lower():
        return "WebSocket is not supported"
    return None


FixedPaths: TypeAlias = Mapping[str, frozenset[str]]


def fixed_paths(routes: Sequence[BaseRoute]) -> FixedPaths:
    """Return the methods of each path without parameters: `/roles/all` has no PUT, although `/roles/{role_id}` has."""
    methods: dict[str, frozenset[str]] = {}
    for route in iter_route_contexts(routes):
        path = route.path
        if isinstance(route.original_route, APIRoute) and path and "{" not in path:
            methods[path] = methods.get(path, frozenset()) | (route.methods or set())
    return methods


class MethodMiddleware:
    """Answers 405 for the other methods of a fixed path, which would match a template such as `/roles/{role_id}`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            fixed: FixedPaths = scope["app"].state.fixed_paths
            methods = fixed.get(route_path(scope))
            if methods is not None and scope["method"] not in methods:
                raise HTTPException(405)
        await self._app(scope, receive, send)
