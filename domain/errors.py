"""Errors, by kind. An error is a fact with a stable code; entrypoints decide how to present it."""

from datetime import timedelta
from typing import ClassVar


class PorticoError(Exception):
    """A fact that stops a use case. `code` is stable, the text is for people."""

    code: ClassVar[str]

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotFound(PorticoError):
    """The object does not exist, or not for this caller."""


class Conflict(PorticoError):
    """The change conflicts with stored data."""


class Unauthenticated(PorticoError):
    """The request has no valid credentials."""


class Forbidden(PorticoError):
    """The caller is known but has no permission."""


class Invalid(PorticoError):
    """A value breaks a rule; `field` names it in the words of the use case (`new_password`)."""

    def __init__(self, detail: str, *, field: str) -> None:
        super().__init__(detail)
        self.field = field


class PreconditionFailed(PorticoError):
    """The object has changed since the caller read it; nothing was done."""

    code = "platform.precondition_failed"

    def __init__(self) -> None:
        super().__init__("This has changed since you read it; read it again, then decide")


class RateLimited(PorticoError):
    """A limit is reached; `retry_after` is the time to wait."""

    def __init__(self, detail: str, *, retry_after: timedelta) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(PorticoError):
    """A dependency is down or full; nothing was changed, and a retry is safe."""

    code = "platform.unavailable"

    def __init__(
        self,
        dependency: str,
        *,
        reason: str | None = None,
        retry_after: timedelta = timedelta(seconds=1),
    ) -> None:
        super().__init__(f"{dependency} is not available right now")
        self.dependency = dependency
        self.reason = reason
        """For operators, without secrets. Not in the text, which callers see."""
        self.retry_after = retry_after
