"""Compression of large JSON responses to GET, for clients that accept gzip.

Not of those with an `ETag`, which identifies the exact bytes; nor of streams. No response to a GET contains a token or
a password (`docs/security.md`, BREACH).
"""

import asyncio
import re
import zlib

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope

from entrypoints.http.request_context import header

# A smaller response fits into one packet anyway.
_SMALLEST = 1024
# Above this size, compressing blocks the event loop for longer than a thread costs.
_SMALLEST_FOR_A_THREAD = 64 * 1024
_LEVEL = 6
_GZIP = re.compile(r"(?:^|,)\s*(?:x-)?gzip\s*(?:;\s*q\s*=\s*([0-9.]+)\s*)?(?:,|$)", re.IGNORECASE)


def may_be_compressed(start: Message) -> bool:
    """Return whether the response that begins so may be, if it is large."""
    headers = dict(start["headers"])
    return (
        headers.get(b"content-type") == b"application/json"
        and b"etag" not in headers
        and b"content-encoding" not in headers
    )


async def compressed(scope: Scope, start: Message, message: Message) -> Message:
    """Return `message`, the whole content, compressed if that is worth it; adapt the headers of `start`."""
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
