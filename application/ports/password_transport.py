"""Decryption of the passwords that clients encrypt with RSA."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from domain.password_transport import SealedPassword


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportKey:
    """The public key with which clients encrypt passwords."""

    key_id: str
    pem: str
    jwk: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenedPassword:
    """A decrypted password, and the digest (hex) that identifies its ciphertext."""

    plaintext: bytes = field(repr=False)
    digest: str


class PasswordTransport(Protocol):
    """RSA-OAEP with SHA-256 and MGF1-SHA-256, without a label."""

    def public_key(self) -> TransportKey:
        """Return the current encryption key."""
        ...

    def capacity(self) -> int:
        """Return how many bytes a client can encrypt with any key that is still accepted."""
        ...

    async def open(self, sealed: SealedPassword) -> OpenedPassword | None:
        """Return the decrypted password, or None for every error: alphabet, length, key, padding.

        Runs off the event loop; raises `Unavailable` if too many calls are waiting.
        """
        ...
