"""Compresses large JSON responses for clients that accept gzip."""

import asyncio
import re
import zlib

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from entrypoints.http.request_context import header

# A smaller response fits into one packet anyway.
_SMALLEST = 1024
# Above this size, compressing blocks the event loop for longer than a thread costs.
_SMALLEST_FOR_A_THREAD = 64 * 1024
_LEVEL = 6
_GZIP = re.compile(r"(?:^|,)\s*(?:x-)?gzip\s*(?:;\s*q\s*=\s*([0-9.]+)\s*)?(?:,|$)", re.IGNORECASE)


class CompressionMiddleware:
    """Compresses JSON responses to GET. Not those with an `ETag`, which identifies the exact bytes; nor streams.

    No response to a GET contains a token or a password (`docs/security.md`, BREACH).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def send_compressed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _may_be_compressed(message):
                start = message  # its headers depend on the size of what follows
                return
            if start is not None:
                if not message.get("more_body", False):
                    message = await _compressed(scope, start, message)
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, send_compressed)


def _may_be_compressed(start: Message) -> bool:
    headers = dict(start["headers"])
    return (
        headers.get(b"content-type") == b"application/json"
        and b"etag" not in headers
        and b"content-encoding" not in headers
    )


async def _compressed(scope: Scope, start: Message, message: Message) -> Message:
    body: bytes = message.get("body", b"")
    if len(body) < _SMALLEST:
        return message
    headers = MutableHeaders(raw=start["headers"])
    headers.add_vary_header("Accept-Encoding")
    if not _accepts_gzip(header(scope, b"accept-encoding")):
        return message
    if len(body) < _SMALLEST_FOR_A_THREAD:
        body = _gzip(body)
    else:
        body = await asyncio.to_thread(_gzip, body)
    headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(body))
    return {**message, "body": body}


def _accepts_gzip(accept_encoding: str | None) -> bool:
    accepted = _GZIP.search(accept_encoding or "")
    return accepted is not None and (accepted[1] is None or accepted[1].strip("0.") != "")


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()
