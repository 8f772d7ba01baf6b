"""Decryption of the passwords that clients encrypt with RSA."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from domain.sessions import SealedPassword


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportKey:
    """The public key under which clients encrypt passwords."""

    key_id: str
    pem: str
    jwk: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenedPassword:
    """A decrypted ciphertext, and the digest (hex) that no other ciphertext has."""

    plaintext: bytes = field(repr=False)
    digest: str


class PasswordTransport(Protocol):
    """RSA-OAEP with SHA-256 and MGF1-SHA-256, without a label."""

    def public_key(self) -> TransportKey:
        """Return the key to encrypt with now."""
        ...

    def capacity(self) -> int:
        """Return how many bytes a client can encrypt, with whichever key it has."""
        ...

    async def open(self, sealed: SealedPassword) -> OpenedPassword | None:
        """Return what was inside, or None whatever is wrong: alphabet, length, key, padding.

        Runs off the event loop and raises `Unavailable` if too much is waiting there.
        """
        ...
