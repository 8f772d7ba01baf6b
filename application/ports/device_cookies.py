"""Cookies that mark a device as known at later log-ins."""

from typing import Protocol


class DeviceCookies(Protocol):
    """Tokens that a device gets at log-in and sends at later ones. The throttle stores which account knows which.

    After OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
    """

    def new(self) -> str:
        """Return a token of at least 128 bits, of the characters that a cookie may have (RFC 6265 §4.1.1)."""
        ...

    def is_ours(self, token: str | None) -> bool:
        """Return whether this token was issued with our secret."""
        ...
