"""The password transport without any cryptography, for unit tests."""

import hashlib
import itertools
from base64 import b64decode, b64encode

from application.ports.password_transport import OpenedPassword, PasswordTransport, TransportKey
from domain.password_transport import SealedPassword


class MemoryPasswordTransport(PasswordTransport):
    """A ciphertext is a mark, a number and the plaintext, so that no two are the same."""

    _MARK = b"sealed"

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def seal(self, plaintext: bytes) -> SealedPassword:
        """Encrypt a password as a client does."""
        ciphertext = self._MARK + next(self._numbers).to_bytes(8, "big") + plaintext
        return SealedPassword(b64encode(ciphertext).decode("ascii"), self.public_key().key_id)

    def public_key(self) -> TransportKey:
        return TransportKey(key_id="memory", pem="", jwk={"kid": "memory"})

    def capacity(self) -> int:
        return 318  # of an RSA key of 3,072 bits

    async def open(self, sealed: SealedPassword) -> OpenedPassword | None:
        try:
            ciphertext = b64decode(sealed.ciphertext, validate=True)
        except ValueError:
            return None
        if sealed.key_id not in {None, "memory"} or not ciphertext.startswith(self._MARK):
            return None
        return OpenedPassword(
            ciphertext[len(self._MARK) + 8 :], hashlib.sha256(ciphertext).hexdigest()
        )
