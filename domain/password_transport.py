"""Passwords as clients send them: encrypted, with the time of encryption or without it."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.identity import Password


@dataclass(frozen=True, slots=True)
class SealedPassword:
    """A password as a client sends it: base64 of RSA-OAEP-256, and which key it used (None: the current one)."""

    ciphertext: str = field(repr=False)
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class UnsealedPassword:
    """The decrypted password, and the time of encryption if the client sent it."""

    password: Password
    sealed_at_ms: int | None


FRAME_SIZE = len('{ "p": "", "t": 1767225600000 }')
"""The largest number of bytes that clients add to a password before they encrypt it."""


def parse_plaintext(plaintext: bytes) -> UnsealedPassword | None:
    """Read the bare UTF-8 password, or the JSON `{"p": password, "t": unix milliseconds}`; None if it is neither."""
    try:
        text = plaintext.decode("utf-8")
    except UnicodeDecodeError:
        return None
    try:
        framed = json.loads(text)
    except (ValueError, RecursionError):
        framed = None
    match framed:
        case {"p": str(password), "t": int(sealed_at), **rest} if (
            not rest and type(sealed_at) is int
        ):
            return UnsealedPassword(Password(password), sealed_at)
        case _:
            return UnsealedPassword(Password(text), None)


def is_fresh(unsealed: UnsealedPassword, now: datetime, *, window: timedelta) -> bool:
    """Return whether this was encrypted just now by a client whose clock is within `window` of ours."""
    if unsealed.sealed_at_ms is None:
        return False
    return abs(int(now.timestamp() * 1000) - unsealed.sealed_at_ms) <= window / timedelta(
        milliseconds=1
    )
