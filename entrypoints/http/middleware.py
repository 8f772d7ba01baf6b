"""The middleware of every request, in plain ASGI.

`middleware` sets the order: whatever sends a response is inside the layers that add the request id and the headers.
"""

import asyncio
import json
import math
import re
import secrets
import time
from typing import Any, NoReturn

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from application.settings import HttpSettings
from entrypoints.http.compression import CompressionMiddleware
from entrypoints.http.errors import problem_response
from entrypoints.http.heads import HeadMiddleware, MethodMiddleware
from entrypoints.http.request_context import (
    begin_request,
    client_of,
    header,
    quoted_path,
    request_context,
    route_path,
    route_template,
)
from entrypoints.http.security import admit

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.http")


def middleware(settings: HttpSettings, *, auth_prefixes: tuple[str, ...]) -> list[Middleware]:
    """Return the layers, outermost first; paths under `auth_prefixes` have a smaller body limit."""
    layers = [
        Middleware(RequestContextMiddleware, settings),
        Middleware(SecurityHeadersMiddleware, hsts=settings.hsts),
        Middleware(ErrorMiddleware),
        Middleware(HeadMiddleware),
    ]
    if settings.cors.origins:
        layers += [
            Middleware(
                StrictCORSMiddleware,
                allow_origins=settings.cors.origins,
                allow_credentials=settings.cors.credentials,
                allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
                allow_headers=(
                    "Authorization",
                    "If-Match",
                    "X-Device-Token",
                    "X-Refresh-Token",
                    "X-Request-ID",
                ),
                expose_headers=(
                    "ETag",
                    "Location",
                    "Retry-After",
                    "WWW-Authenticate",
                    "X-Request-ID",
                ),
            ),
            # Again, inside CORS: otherwise a browser would hide an unexpected error from the page.
            Middleware(ErrorMiddleware),
        ]
    return [
        *layers,
        Middleware(MethodMiddleware),
        Middleware(CompressionMiddleware),
        Middleware(BodyMiddleware, settings, auth_prefixes),
    ]


class RequestContextMiddleware:
    """Gives a request and its response an id, and writes one log line about both.

    HEAD runs as GET; the content is dropped from the response (RFC 9110 §9.3.2).
    """

    def __init__(self, app: ASGIApp, settings: HttpSettings) -> None:
        self._app = app
        self._trusted_proxies = settings.trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method: str = scope["method"]
        is_head = method == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}
        request_id = header(scope, b"x-request-id") or ""
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(16)
        client, scope["scheme"] = client_of(scope, self._trusted_proxies)
        context = begin_request(scope, request_id, client)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.status = int(message["status"])
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode("ascii")),
                ]
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            route = route_template(scope)
            _log.info(
                "request",
                method=method,
                route=route,
                **({} if route else {"path": quoted_path(scope)}),
                status=context.status,
                duration_ms=round((time.perf_counter() - started) * 1000, 2),
                client=client,
                **context.log_fields(),
            )


class SecurityHeadersMiddleware:
    """Adds the security headers that a response does not set itself."""

    def __init__(self, app: ASGIApp, *, hsts: bool) -> None:
        self._app = app
        self._hsts = hsts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Over plain HTTP it has no effect and must not be sent (RFC 6797 §7.2).
        is_strict = self._hsts and scope["scheme"] == "https"
        headers = (*SECURITY_HEADERS, _HSTS) if is_strict else SECURITY_HEADERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = message["headers"]
                names = {name for name, _ in sent}
                message["headers"] = [*sent, *(h for h in headers if h[0] not in names)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class ErrorMiddleware:
    """Turns every exception from the inner layers into a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            response = problem_response(scope, error)
            if request_context(scope).status is not None:
                # The response has started. All we can do is to break it off.
                raise
            await response(scope, receive, send)
        except asyncio.CancelledError:
            if request_context(scope).status is not None:
                raise
            # uvicorn would send its own text; the task ends after this response.
            await problem_response(scope, _stopping())(scope, receive, send)


def _stopping() -> HTTPException:
    headers = {"Retry-After": "1", "Connection": "close"}
    return HTTPException(503, "This process is shutting down", headers=headers)


class StrictCORSMiddleware(CORSMiddleware):
    """CORS middleware that refuses with a problem, like every other error."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code >= 400:  # noqa: PLR2004 - the first status that is an error
            raise HTTPException(
                response.status_code,
                bytes(response.body).decode(),
                headers={"Vary": response.headers["Vary"]},
            )
        return response


class BodyMiddleware:
    """Limits the size of bodies while they are read, and refuses JSON that two parsers could read differently.

    No byte of a body is read before the caller is authorized.

    JSON must be I-JSON (RFC 7493): UTF-8 without a byte order mark, no duplicate names in an object, no lone
    surrogates, no NaN or Infinity.
    """

    def __init__(
        self, app: ASGIApp, settings: HttpSettings, auth_prefixes: tuple[str, ...]
    ) -> None:
        self._app = app
        self._limit = settings.body_limit
        self._auth_limit = settings.auth_body_limit
        self._auth_prefixes = auth_prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_auth = route_path(scope).startswith(self._auth_prefixes)
        left = self._auth_limit if is_auth else self._limit

        is_admitted = False

        async def bounded_receive() -> Message:
            nonlocal left, is_admitted
            if not is_admitted:
                await admit(scope)
                is_admitted = True
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    raise HTTPException(413, "The body is too large")
            return message

        is_json = _is_json(header(scope, b"content-type"))
        await self._app(scope, _checking(bounded_receive) if is_json else bounded_receive, send)


def _is_json(content_type: str | None) -> bool:
    if content_type is None:
        return False
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )


def _checking(receive: Receive) -> Receive:
    """Return a `receive` that reads and checks the whole JSON body when a route first reads it. Many never do."""
    unread: list[Message] | None = None

    async def receive_checked() -> Message:
        nonlocal unread
        if unread is None:
            unread = [await _whole_body(receive)]
        return unread.pop() if unread else await receive()

    return receive_checked


async def _whole_body(receive: Receive) -> Message:
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(chunks)
    if body and not more:
        check_json(body)
    return {"type": "http.request", "body": body, "more_body": more}


# Several times what the largest valid body has. A megabyte of `[],[],…` would block the event loop for a second, and
# its validation errors for longer.
_MAX_PARTS = 10_000


def check_json(body: bytes) -> None:
    """Raise 400 unless `body` is I-JSON (RFC 7493) and cheap to parse."""
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_PARTS:
        raise HTTPException(400, f"The body is not acceptable JSON: it has over {_MAX_PARTS} parts")
    try:
        value = _decoder.decode(body.decode("utf-8"))
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _NotIJSON as error:
        problem = str(error)
    except json.JSONDecodeError as error:
        problem = f"syntax error at line {error.lineno}, column {error.colno}"
    except UnicodeError:
        problem = "it is not UTF-8, or has a lone surrogate"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError:
        problem = "a number is too long"
    else:
        return
    raise HTTPException(400, f"The body is not acceptable JSON: {problem}")


class _NotIJSON(ValueError):
    """JSON that two parsers may read differently."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotIJSON("an object has the same name twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _NotIJSON("a number is too large")
    return number


def _no_constant(_name: str) -> NoReturn:
    raise _NotIJSON("NaN and Infinity are not numbers")


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
)
