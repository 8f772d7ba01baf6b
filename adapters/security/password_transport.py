"""Decryption of passwords: RSA-OAEP as Web Crypto does it (RFC 8017 §7.1)."""

import hashlib
import re
from base64 import b64decode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adapters.security.keys import RsaKeyRing
from adapters.security.pool import HashingPool
from application.ports.password_transport import OpenedPassword, PasswordTransport, TransportKey
from domain.password_transport import SealedPassword

_BASE64 = re.compile(r"[A-Za-z0-9+/]+=*")
_HASH = hashes.SHA256()
_OAEP = padding.OAEP(padding.MGF1(_HASH), _HASH, label=None)


class RsaPasswordTransport(PasswordTransport):
    """Publishes the active key, and decrypts with any key of the ring."""

    def __init__(self, ring: RsaKeyRing, pool: HashingPool) -> None:
        active = ring.active
        self._pool = pool
        self._active = active.private
        # RFC 8017 §7.1.1: the padding takes two hashes and two bytes.
        self._capacity = min(key.private.key_size for key in ring) // 8 - 2 * _HASH.digest_size - 2
        self._by_id = {key.id: key.private for key in ring}
        self._public = TransportKey(
            key_id=active.id,
            pem=active.private.public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            .decode("ascii"),
            jwk=active.public_jwk(use="enc", algorithm="RSA-OAEP-256"),
        )

    def public_key(self) -> TransportKey:
        return self._public

    def capacity(self) -> int:
        return self._capacity

    async def open(self, sealed: SealedPassword) -> OpenedPassword | None:
        key = self._active if sealed.key_id is None else self._by_id.get(sealed.key_id)
        if key is None:
            return None
        ciphertext = _decode(sealed.ciphertext, size=key.key_size // 8)
        if ciphertext is None:
            return None
        plaintext = await self._pool.run(_decrypt, key, ciphertext)
        if plaintext is None:
            return None
        return OpenedPassword(plaintext, hashlib.sha256(ciphertext).hexdigest())


def _decode(text: str, *, size: int) -> bytes | None:
    """Return the `size` bytes of standard base64, padded or not; None if it is anything else."""
    bare = text.rstrip("=")
    padded = bare + "=" * (-len(bare) % 4)
    if not _BASE64.fullmatch(text) or text not in {bare, padded}:
        return None
    try:
        data = b64decode(padded)
    except ValueError:
        return None
    return data if len(data) == size else None


def _decrypt(key: rsa.RSAPrivateKey, ciphertext: bytes) -> bytes | None:
    try:
        return key.decrypt(ciphertext, _OAEP)
    except ValueError:
        return None
