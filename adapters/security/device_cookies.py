"""Tokens that mark a device as known."""

import hashlib
import hmac
import secrets

from application.ports.device_cookies import DeviceCookies


class HmacDeviceCookies(DeviceCookies):
    """A random number and its HMAC, so that no list of issued tokens is needed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def new(self) -> str:
        number = secrets.token_urlsafe(24)
        return f"{number}.{self._mac(number)}"

    def is_ours(self, token: str | None) -> bool:
        number, _, mac = (token or "").partition(".")
        return hmac.compare_digest(_bytes(mac), _bytes(self._mac(number)))

    def _mac(self, number: str) -> str:
        return hmac.new(self._key, b"device token " + _bytes(number), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
