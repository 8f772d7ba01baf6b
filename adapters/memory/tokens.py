"""Tokens without any cryptography, for unit tests; everything else that the port promises holds."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from application.ports.system import Clock
from application.ports.tokens import Tokens
from application.settings import SessionSettings
from domain.sessions import AccessClaims, InvalidToken, RefreshClaims

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
        if claims.issued_at > now + self._settings.token_leeway:
            raise InvalidToken("iat is in the future")
        if not timedelta(0) < claims.expires_at - claims.issued_at <= lifetime:
            raise InvalidToken("its lifetime is not one of ours")
        if claims.expires_at <= now and not allow_expired:
            raise InvalidToken("expired")


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
