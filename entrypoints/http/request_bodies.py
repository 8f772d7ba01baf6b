"""Bodies: bounded while they are read, and JSON that no two parsers read differently.

JSON must be I-JSON (RFC 7493): UTF-8 without a byte order mark, no duplicate names in an object, no lone surrogates, no
NaN or Infinity.
"""

import json
import math
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from application.settings import HttpSettings
from entrypoints.http.request_context import header, route_path


class BodyLimits:
    """How large a body may be, in bytes: less is enough under `auth_prefixes`, but not for an avatar."""

    def __init__(
        self, settings: HttpSettings, auth_prefixes: tuple[str, ...], avatar_path: str = ""
    ) -> None:
        self._limit = settings.body_limit
        self._auth_limit = settings.auth_body_limit
        self._auth_prefixes = auth_prefixes
        self._avatar_limit = settings.avatar_body_limit
        self._avatar_path = avatar_path

    def of(self, scope: Scope) -> int:
        """Return the limit of a request."""
        path = route_path(scope)
        if path == self._avatar_path and scope["method"] == "PUT":
            return self._avatar_limit
        return self._auth_limit if path.startswith(self._auth_prefixes) else self._limit


class BoundedReceive:
    """Reads a body; raises 413 once it is larger than its limit, even if its declared length is smaller."""

    __slots__ = ("_left", "_limits", "_receive", "_scope")

    def __init__(self, scope: Scope, receive: Receive, limits: BodyLimits) -> None:
        self._scope = scope
        self._receive = receive
        self._limits = limits
        self._left: int | None = None  # most requests never read a body

    async def __call__(self) -> Message:
        message = await self._receive()
        if self._left is None:
            self._left = self._limits.of(self._scope)
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, "The body is too large")
        return message


def announces_body(scope: Scope) -> bool:
    """Tell whether the head of a request announces a body (RFC 9112 §6)."""
    length = header(scope, b"content-length")
    return length not in {None, "0"} or header(scope, b"transfer-encoding") is not None


async def read_body(request: Request) -> None:
    """Read the whole body and check it; FastAPI then parses what is in memory. Raise 400 or 413."""
    try:
        body = await request.body()
    except ClientDisconnect:
        raise HTTPException(400, "The body did not come to its end") from None
    if body and _is_json(header(request.scope, b"content-type")):
        check_json(body)


def _is_json(content_type: str | None) -> bool:
    if content_type is None:
        return False
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )


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
