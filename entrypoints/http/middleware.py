"""The layers around every request, in plain ASGI."""

import asyncio
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import structlog
from starlette import datastructures
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from application.settings import HttpSettings
from entrypoints.client_address import client_of
from entrypoints.http.compression import compressed, may_be_compressed
from entrypoints.http.errors import problem_response
from entrypoints.http.metrics import RequestMetrics
from entrypoints.http.request_bodies import BodyLimits, BoundedReceive
from entrypoints.http.request_context import (
    begin_request,
    request_context,
    route_template,
)
from entrypoints.http.request_head import check_head
from entrypoints.http.request_log import RequestLog

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # base-uri and frame-ancestors do not follow default-src; object-src is named for OWASP ASVS 5.0 V3.4.3.
    (
        b"content-security-policy",
        b"default-src 'none'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"cache-control", b"no-store"),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]


def middleware(
    settings: HttpSettings,
    metrics: RequestMetrics,
    *,
    auth_prefixes: tuple[str, ...],
    avatar_path: str,
) -> list[Middleware]:
    """Return the layers, outermost first; bodies have smaller limits under `auth_prefixes`, and another at one path."""
    layers = [
        Middleware(
            RequestMiddleware,
            settings,
            BodyLimits(settings, auth_prefixes, avatar_path),
            metrics,
        )
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
            # Inside CORS too: otherwise a browser would hide an error from the page.
            Middleware(ErrorMiddleware),
        ]
    return layers


class RequestMiddleware:
    """Gives a request its id, refuses what is no proper request, bounds its body, measures it, and logs one line.

    Every error is answered as a problem. HEAD runs as GET.
    """

    def __init__(
        self, app: ASGIApp, settings: HttpSettings, limits: BodyLimits, metrics: RequestMetrics
    ) -> None:
        self._app = app
        self._trusted_proxies = settings.trusted_proxies
        self._limits = limits
        self._log = RequestLog()
        self._metrics = metrics
        # Over plain HTTP, Strict-Transport-Security has no effect and must not be sent (RFC 6797 §7.2).
        self._headers = {
            "http": SECURITY_HEADERS,
            "https": (*SECURITY_HEADERS, _HSTS) if settings.hsts else SECURITY_HEADERS,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        self._metrics.in_progress += 1
        method: str = scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
        headers: Mapping[bytes, bytes] = dict(reversed(scope["headers"]))  # the first value of each
        client, scope["scheme"] = client_of(scope, self._trusted_proxies)
        context = begin_request(scope, _request_id(headers), headers, client)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=context.request_id)
        send = FinishingSend(scope, send, self._headers[scope["scheme"]], is_head=method == "HEAD")
        try:
            check_head(scope, headers)
            await self._app(scope, BoundedReceive(scope, receive, self._limits), send)
        except Exception as error:  # noqa: BLE001 - it is answered and logged
            await _answer_error(error, scope, receive, send)
        except asyncio.CancelledError as error:
            await _answer_error(error, scope, receive, send)
        finally:
            seconds = time.perf_counter() - started
            context.route = route_template(scope)
            self._metrics.end(context, method, seconds)
            self._log.add(scope, method, context, seconds)


class FinishingSend:
    """Sends a response with its request id and with the headers that it does not set itself.

    Large JSON is compressed. The response to HEAD has no content (RFC 9110 §9.3.2).
    """

    __slots__ = ("_context", "_headers", "_is_head", "_scope", "_send", "_unsent")

    def __init__(self, scope: Scope, send: Send, headers: Headers, *, is_head: bool) -> None:
        self._scope = scope
        self._context = request_context(scope)
        self._send = send
        self._headers = headers
        self._is_head = is_head
        self._unsent: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = self._finished(message.get("headers", ()))
            if self._scope["method"] == "GET" and may_be_compressed(message):
                self._unsent = message  # its headers depend on the size of what follows
                return
            self._context.status = int(message["status"])
        elif self._unsent is not None:
            start, self._unsent = self._unsent, None
            if not message.get("more_body", False):
                message = await compressed(self._scope, start, message)
            self._context.status = int(start["status"])
            await self._send(start)
        if self._is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _finished(self, headers: Headers) -> Headers:
        given = dict(headers)
        return [
            *headers,
            *[header for header in self._headers if header[0] not in given],
            (b"x-request-id", self._context.request_id.encode("ascii")),
        ]


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(text := given.decode("latin-1")):
        return text
    return os.urandom(16).hex()  # as `secrets.token_hex`, in a third of its time


class ErrorMiddleware:
    """Answers every error from the inner layers as a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - it is answered and logged
            await _answer_error(error, scope, receive, send)
        except asyncio.CancelledError as error:
            await _answer_error(error, scope, receive, send)


async def _answer_error(
    error: Exception | asyncio.CancelledError, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send `error` as a problem. Raise it if the response has started: all that is left is to break that off."""
    if isinstance(error, asyncio.CancelledError):
        # uvicorn would send its own text; the task ends after this response.
        headers = {"Retry-After": "1", "Connection": "close"}
        problem: Exception = HTTPException(503, "This process is shutting down", headers=headers)
    else:
        problem = error
    response = problem_response(scope, problem)  # logs what is unexpected
    if request_context(scope).status is not None:
        raise error
    await response(scope, receive, send)


class StrictCORSMiddleware(CORSMiddleware):
    """CORS middleware that refuses with a problem, like every other error."""

    def preflight_response(self, request_headers: datastructures.Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code >= 400:  # noqa: PLR2004 - the first status that is an error
            raise HTTPException(
                response.status_code,
                bytes(response.body).decode(),
                headers={"Vary": response.headers["Vary"]},
            )
        return response
