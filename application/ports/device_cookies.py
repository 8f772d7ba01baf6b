"""Cookies that mark a device as known at later log-ins."""

from typing import Protocol


class DeviceCookies(Protocol):
    """What devices are handed at a log-in, to be known by. Which account knows which, the throttle keeps.

    After OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
    """

    def new(self) -> str:
        """Return a token of at least 128 bits, of the characters that a cookie may have (RFC 6265 §4.1.1)."""
        ...

    def is_ours(self, token: str | None) -> bool:
        """Tell whether this token was handed out by anybody who shares our secret."""
        ...
