"""Errors of the domain as errors of events. The only place where a kind of error is mapped to a code."""

from collections.abc import Mapping

import structlog

from domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PorticoError,
    PreconditionFailed,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from domain.sessions import InvalidToken, NotAuthenticated
from entrypoints.socketio.errors import Code, SocketError

CODE_OF_KIND: Mapping[type[PorticoError], Code] = {
    NotFound: Code.NOT_ALLOWED,
    Conflict: Code.NOT_ALLOWED,
    Unauthenticated: Code.NOT_ALLOWED,
    Forbidden: Code.NOT_ALLOWED,
    Invalid: Code.INVALID_PAYLOAD,
    PreconditionFailed: Code.NOT_ALLOWED,
    RateLimited: Code.TRY_AGAIN,
    Unavailable: Code.TRY_AGAIN,
}

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.realtime")


def socket_error(error: PorticoError) -> SocketError:
    """Return what the client gets for `error`; log what it must not see."""
    match error:
        case NotAuthenticated():
            return SocketError(
                Code.NOT_ALLOWED, "Log in and connect with the access token as `auth.token`"
            )
        case InvalidToken():
            _log.info("refused", error=error.code, reason=error.reason)
        case Unavailable():
            cause = type(error.__cause__).__name__ if error.__cause__ else None
            _log.warning("unavailable", dependency=error.dependency, cause=cause)
        case _:
            pass
    return SocketError(code_of(error), error.detail)


def code_of(error: PorticoError) -> Code:
    """Return the code of an error's kind."""
    for kind in type(error).__mro__:
        if kind in CODE_OF_KIND:
            return CODE_OF_KIND[kind]
    raise TypeError(f"{type(error).__name__} has no code")
