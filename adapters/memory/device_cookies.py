"""Device cookies in memory."""

import secrets

from application.ports.device_cookies import DeviceCookies


class MemoryDeviceCookies(DeviceCookies):
    """Keeps every token that it issued."""

    def __init__(self) -> None:
        self._handed_out: set[str] = set()

    def new(self) -> str:
        token = secrets.token_urlsafe(24)
        self._handed_out.add(token)
        return token

    def is_ours(self, token: str | None) -> bool:
        return token in self._handed_out
