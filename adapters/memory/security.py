"""Tokens, password hashes and the password transport without any cryptography, for unit tests.

Nothing here is secret or slow; everything else that the ports promise holds.
"""

import hashlib
import itertools
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from application.ports.identity import CommonPasswords, PasswordHasher
from application.ports.sessions import (
    DeviceCookies,
    OpenedPassword,
    PasswordTransport,
    Tokens,
    TransportKey,
)
from application.ports.system import Clock
from application.settings import SessionSettings
from domain.identity import Password
from domain.sessions import AccessClaims, InvalidToken, RefreshClaims, SealedPassword

ClaimsT = TypeVar("ClaimsT", AccessClaims, RefreshClaims)


class MemoryTokens(Tokens):
    """Remembers the claims of every token it issued; a token is the digest of its claims."""

    def __init__(self, settings: SessionSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._access: dict[str, AccessClaims] = {}
        self._refresh: dict[str, RefreshClaims] = {}

    def issue_access(self, claims: AccessClaims) -> str:
        authenticated_at = claims.authenticated_at.replace(microsecond=0)
        return _issue(self._access, replace(claims, authenticated_at=authenticated_at))

    def verify_access(self, token: str, *, allow_expired: bool = False) -> AccessClaims:
        claims = _find(self._access, token)
        self._check_times(claims, self._settings.access_lifetime, allow_expired=allow_expired)
        return claims

    def issue_refresh(self, claims: RefreshClaims) -> str:
        return _issue(self._refresh, claims)

    def verify_refresh(self, token: str) -> RefreshClaims:
        claims = _find(self._refresh, token)
        self._check_times(claims, self._settings.refresh_idle)
        return claims

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        return ()

    def _check_times(
        self,
        claims: AccessClaims | RefreshClaims,
        lifetime: timedelta,
        *,
        allow_expired: bool = False,
    ) -> None:
        now = self._clock.now()
        if claims.issued_at > now + self._settings.leeway:
            raise InvalidToken("iat is in the future")
        if not timedelta(0) < claims.expires_at - claims.issued_at <= lifetime:
            raise InvalidToken("its lifetime is not one of ours")
        if claims.expires_at <= now and not allow_expired:
            raise InvalidToken("expired")


class MemoryPasswordHasher(PasswordHasher):
    """One round of SHA-256. `generation` stands for the parameters: another one calls for a new hash."""

    def __init__(self, generation: int = 1) -> None:
        self._prefix = f"$memory$g={generation}$"

    async def hash(self, password: Password) -> str:
        return self._prefix + _salted(secrets.token_hex(8), password)

    async def verify(self, password: Password, stored: str | None) -> bool:
        match (stored or "").split("$"):
            case ["", "memory", _, salt, digest]:
                return _salted(salt, password) == f"{salt}${digest}"
            case _:
                return False

    def needs_rehash(self, stored: str) -> bool:
        return not stored.startswith(self._prefix)


class MemoryPasswordTransport(PasswordTransport):
    """Sealing puts a mark and a number before the plaintext, so that no two ciphertexts are the same."""

    _MARK = b"sealed"

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def seal(self, plaintext: bytes) -> SealedPassword:
        """Do what a client does."""
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


class MemoryDeviceCookies(DeviceCookies):
    """Remembers every token that it handed out."""

    def __init__(self) -> None:
        self._handed_out: set[str] = set()

    def new(self) -> str:
        token = secrets.token_urlsafe(24)
        self._handed_out.add(token)
        return token

    def is_ours(self, token: str | None) -> bool:
        return token in self._handed_out


class MemoryCommonPasswords(CommonPasswords):
    """A handful of words."""

    def __init__(self, folded: Iterable[str] = ("password", "123456", "qwerty", "letmein")) -> None:
        self._folded = frozenset(folded)

    def __contains__(self, folded: str, /) -> bool:
        return folded in self._folded


def _issue(issued: dict[str, ClaimsT], claims: ClaimsT) -> str:
    claims = replace(
        claims,
        issued_at=claims.issued_at.replace(microsecond=0),
        expires_at=claims.expires_at.replace(microsecond=0),
    )
    token = hashlib.sha256(repr(claims).encode()).hexdigest()
    issued[token] = claims
    return token


def _find(issued: Mapping[str, ClaimsT], token: str) -> ClaimsT:
    claims = issued.get(token)
    if claims is None:
        raise InvalidToken("unknown")
    return claims


def _salted(salt: str, password: Password) -> str:
    secret = password.value.encode("utf-8", "surrogatepass")
    return f"{salt}${hashlib.sha256(salt.encode() + secret).hexdigest()}"
