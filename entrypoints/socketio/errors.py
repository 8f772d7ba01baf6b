"""Errors of events: what the client gets, with which code."""

from collections.abc import Callable
from enum import IntEnum
from http import HTTPStatus
from typing import Any, TypedDict

from pydantic import ValidationError
from starlette.exceptions import HTTPException

MAX_DETAILS = 20
"""The most faults of one payload that are described one by one."""
MAX_NAME = 200
"""Characters of an event's name that an error repeats."""
MAX_DETAIL = 2_000
"""Characters of them; a fault names keys, which are the client's."""


class Code(IntEnum):
    """The kinds of errors; the numbers are those of WebSocket (RFC 6455 §7.4.1, IANA)."""

    UNSUPPORTED = 1003
    """A shape or an event that the server does not know."""
    INVALID_PAYLOAD = 1007
    """The payload, and nothing else, is wrong."""
    NOT_ALLOWED = 1008
    """The client may not do this."""
    INTERNAL = 1011
    """A fault of the server; what it was is in the log only."""
    TRY_AGAIN = 1013
    """Too fast, or too much at once."""


MESSAGES = {
    Code.UNSUPPORTED: "Unsupported Data.",
    Code.INVALID_PAYLOAD: "Data Validation Error.",
    Code.NOT_ALLOWED: "Policy Violation.",
    Code.INTERNAL: "Internal Error.",
    Code.TRY_AGAIN: "Try Again Later.",
}

_OF_STATUS: dict[int, Code] = {
    HTTPStatus.BAD_REQUEST: Code.INVALID_PAYLOAD,
    HTTPStatus.UNPROCESSABLE_ENTITY: Code.INVALID_PAYLOAD,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Code.UNSUPPORTED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Code.UNSUPPORTED,
    HTTPStatus.TOO_MANY_REQUESTS: Code.TRY_AGAIN,
    HTTPStatus.SERVICE_UNAVAILABLE: Code.TRY_AGAIN,
}


class Envelope(TypedDict):
    """The data of an `error` event; an ack has it under `error`, and `connect_error` as its `data`."""

    code: int
    event: str
    message: str
    data: str


class InvalidHandler(TypeError):
    """A handler was registered that could never run; the text names the parameter."""


class SocketError(Exception):
    """The client gets this code, and `data` as the explanation. Handlers and dependencies may raise it."""

    def __init__(self, code: Code, data: str) -> None:
        super().__init__(data)
        self.code = code
        self.data = data


class PayloadError(SocketError):
    """An argument of the client is missing or wrong."""

    def __init__(self, data: str) -> None:
        super().__init__(Code.INVALID_PAYLOAD, data)

    @classmethod
    def of(cls, error: ValidationError, name: str, *, is_only: bool) -> "PayloadError":
        """Return what to say about `error`: where, and what is wrong there.

        `name` is that of the parameter. The client need not know it when it is the only one and has fields.
        """
        if error.error_count() > MAX_DETAILS:
            return cls(f"{name} has {error.error_count()} errors")
        details = error.errors(include_url=False, include_input=False, include_context=False)
        data = "; ".join(_detail(each["loc"], each["msg"], name, is_only) for each in details)
        return cls(data[:MAX_DETAIL])


def _detail(loc: tuple[int | str, ...], message: str, name: str, is_only: bool) -> str:  # noqa: FBT001
    where = ".".join(map(str, loc if is_only and loc else (name, *loc)))
    is_word = message[1:2].islower()  # and no UUID
    return f"{where} {message[:1].lower() if is_word else message[:1]}{message[1:]}"


def envelope(event: str, error: SocketError) -> Envelope:
    """Return what the client gets for `error`."""
    return {
        "code": int(error.code),
        "event": event[:MAX_NAME],
        "message": MESSAGES[error.code],
        "data": error.data,
    }


def from_http_exception(error: HTTPException) -> SocketError:
    """Return what an exception of an HTTP dependency means here."""
    status = error.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _OF_STATUS:
        return internal_error()
    return SocketError(_OF_STATUS.get(status, Code.NOT_ALLOWED), str(error.detail))


def internal_error() -> SocketError:
    """Return the error that says nothing of its cause."""
    return SocketError(Code.INTERNAL, "The server failed; the error is logged")


ExceptionHandler = Callable[[Any], SocketError]
"""Turns an exception of the class it is registered for into what the client gets."""


class ExceptionHandlers:
    """Which exception becomes which error: that of the nearest class in its method resolution order."""

    def __init__(self) -> None:
        self._handlers: dict[type[BaseException], ExceptionHandler] = {
            HTTPException: from_http_exception,
            SocketError: lambda error: error,
        }

    def add(self, kind: type[BaseException], handler: ExceptionHandler) -> None:
        """Use `handler` for exceptions of `kind` and of its subclasses that have none of their own."""
        self._handlers[kind] = handler

    def __call__(self, error: Exception) -> SocketError | None:
        """Return what the client gets; None if no handler of exceptions knows `error`."""
        for kind in type(error).__mro__:
            if handler := self._handlers.get(kind):
                return handler(error)
        return None
