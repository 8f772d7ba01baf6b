"""The parameters of a handler or a dependency, besides payload.

`Depends` is FastAPI's own, and so are `Security` and `SecurityScopes`: a dependency of an HTTP route serves a Socket.IO
event too, as long as it asks for nothing that only HTTP has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Security
from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection

__all__ = [
    "SID",
    "Auth",
    "Depends",
    "Environ",
    "Event",
    "HTTPConnection",
    "Namespace",
    "Payload",
    "Reason",
    "Security",
    "SecurityScopes",
    "inline",
]

F = TypeVar("F", bound=Callable[..., Any])


class Special(IntEnum):
    """Facts about the event; the number is where a plan keeps the value."""

    SID = 0
    EVENT = 1
    NAMESPACE = 2
    ENVIRON = 3
    AUTH = 4
    REASON = 5
    CONNECTION = 6


SID = Annotated[str, Special.SID]
"""The id of the client's connection to this namespace: where to emit to, and to disconnect."""
Event = Annotated[str, Special.EVENT]
"""The name of the event, for handlers of `*`."""
Namespace = Annotated[str, Special.NAMESPACE]
"""The namespace that the client is connected to, for handlers of the namespace `*`."""
Environ = Annotated[dict[str, Any], Special.ENVIRON]
"""The WSGI environment of the handshake. In `connect` alone."""
Auth = Annotated[Any, Special.AUTH]
"""The data that the client sent to authenticate, unverified and unvalidated; None if nothing. In `connect` alone.

A parameter of `connect` that is annotated with a type of its own (`auth: LogIn`) gets it validated."""
Reason = Annotated[str, Special.REASON]
"""Why the connection ended, as in `AsyncServer.reason`. In `disconnect` alone."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Marks a parameter that gets an argument of the client: `Annotated[ChatMessage, Payload()]`.

    Parameters of handlers get one without it; those of dependencies never do.
    """

    index: int | None = None
    """Which argument: 0 is the first after the name of the event. By default the next one in a handler, 0 elsewhere."""


def inline(function: F) -> F:
    """Let a synchronous handler or dependency run on the event loop, where it must not block.

    Without it, each call costs a hop to a thread and back, which is more than the whole of a small event.
    """
    function.__inline__ = True  # type: ignore[attr-defined]
    return function
