"""Access and refresh tokens (RFC 7515, RFC 9068), and the only module that imports python-jose.

jose is asked for one thing, an RS256 signature with a key object that we chose. It is not asked to read what an
attacker wrote: its parser takes padding, junk and duplicate keys, falls over deep nesting, and lets the
header pick the algorithm for a key given as text (CVE-2024-33663). Nor does it judge the claims: it skips those that
are absent, takes times that are no integers, and reads a clock of its own.
"""

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from uuid import UUID

from jose import jws
from jose.backends.cryptography_backend import CryptographyRSAKey

from adapters.bounded_cache import BoundedCache
from adapters.security.keys import RsaKey, RsaKeyRing
from application.ports.system import Clock
from application.ports.tokens import Tokens
from application.settings import SessionSettings
from domain.identity import UserId
from domain.sessions import AccessClaims, InvalidToken, RefreshClaims, SessionId, TokenId

_ALGORITHM = "RS256"
_LONGEST_TOKEN = 4096
_LONGEST_HEADER = 512
_SEGMENTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_LATEST = 253402300799  # the last second of the year 9999, the last that a datetime can hold


class JoseTokens(Tokens):
    """RS256 tokens of two kinds, each with keys, a `typ` and an audience of its own. Times are whole seconds.

    Access tokens that were accepted are remembered, by their SHA-256, with what does not change with time: their claims
    and the key that signed them. The clock, and through it the retirement of keys, is compared each time.
    """

    def __init__(
        self,
        access_ring: RsaKeyRing,
        refresh_ring: RsaKeyRing,
        settings: SessionSettings,
        clock: Clock,
    ) -> None:
        self._access = _Jws(access_ring, typ="at+jwt")
        self._refresh = _Jws(refresh_ring, typ="rt+jwt")
        self._settings = settings
        self._clock = clock
        self._accepted = BoundedCache[bytes, tuple[AccessClaims, RsaKey]](settings.cached_callers)
        self._public_keys = [
            (key, key.public_jwk(use="sig", algorithm=_ALGORITHM)) for key in access_ring
        ]

    def issue_access(self, claims: AccessClaims) -> str:
        return self._access.sign(
            {
                "iss": self._settings.issuer,
                "aud": self._settings.audience,
                "sub": str(claims.user_id),
                "client_id": self._settings.client_id,
                "iat": _seconds(claims.issued_at),
                "nbf": _seconds(claims.issued_at),
                "exp": _seconds(claims.expires_at),
                "jti": str(claims.token_id),
                "sid": str(claims.session_id),
                "auth_time": _seconds(claims.authenticated_at),
            }
        )

    def verify_access(self, token: str, *, allow_expired: bool = False) -> AccessClaims:
        # With `surrogatepass`, for what is no text is to be refused below like everything else.
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        accepted = self._accepted.get(digest)
        claims, key = accepted or self._read_access(token)
        self._check_times(claims, key, self._settings.access_lifetime, allow_expired=allow_expired)
        if accepted is None:
            self._accepted.put(digest, (claims, key))
        return claims

    def issue_refresh(self, claims: RefreshClaims) -> str:
        return self._refresh.sign(
            {
                "iss": self._settings.issuer,
                "aud": self._settings.refresh_audience,
                "sub": str(claims.user_id),
                "sid": str(claims.session_id),
                "jti": str(claims.token_id),
                "iat": _seconds(claims.issued_at),
                "exp": _seconds(claims.expires_at),
                "agent": claims.fingerprint,
            }
        )

    def verify_refresh(self, token: str) -> RefreshClaims:
        claims, key = self._read_refresh(token)
        self._check_times(claims, key, self._settings.refresh_idle)
        return claims

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        now = self._clock.now()
        return [jwk for key, jwk in self._public_keys if key.accepted_at(now)]

    def _read_access(self, token: str) -> tuple[AccessClaims, RsaKey]:
        """Check everything that does not change with time."""
        payload, key = self._access.open(token)
        _require(payload, "iss", self._settings.issuer)
        _require(payload, "aud", self._settings.audience)
        _require(payload, "client_id", self._settings.client_id)
        claims = AccessClaims(
            user_id=UserId(_uuid(payload, "sub")),
            session_id=SessionId(_uuid(payload, "sid")),
            token_id=TokenId(_uuid(payload, "jti")),
            issued_at=_instant(payload, "iat"),
            expires_at=_instant(payload, "exp"),
            authenticated_at=_instant(payload, "auth_time"),
        )
        if _instant(payload, "nbf") != claims.issued_at:
            raise InvalidToken("nbf is not iat")
        if claims.authenticated_at > claims.issued_at + self._settings.token_leeway:
            raise InvalidToken("auth_time is after iat")
        return claims, key

    def _read_refresh(self, token: str) -> tuple[RefreshClaims, RsaKey]:
        """Check everything that does not change with time."""
        payload, key = self._refresh.open(token)
        _require(payload, "iss", self._settings.issuer)
        _require(payload, "aud", self._settings.refresh_audience)
        claims = RefreshClaims(
            user_id=UserId(_uuid(payload, "sub")),
            session_id=SessionId(_uuid(payload, "sid")),
            token_id=TokenId(_uuid(payload, "jti")),
            issued_at=_instant(payload, "iat"),
            expires_at=_instant(payload, "exp"),
            fingerprint=_text(payload, "agent"),
        )
        return claims, key

    def _check_times(
        self,
        claims: AccessClaims | RefreshClaims,
        key: RsaKey,
        lifetime: timedelta,
        *,
        allow_expired: bool = False,
    ) -> None:
        now = self._clock.now()
        if not key.accepted_at(now):
            raise InvalidToken("its key was retired too long ago")
        if claims.issued_at > now + self._settings.token_leeway:
            raise InvalidToken("iat is in the future")
        if not timedelta(0) < claims.expires_at - claims.issued_at <= lifetime:
            raise InvalidToken("its lifetime is not one of ours")
        if claims.expires_at <= now and not allow_expired:
            raise InvalidToken("expired")


class _Jws:
    """The compact JWS of one `typ`, signed with the active key of a ring and verified with any of it."""

    def __init__(self, ring: RsaKeyRing, *, typ: str) -> None:
        self._typ = typ
        self._header = {"kid": ring.active.id, "typ": typ}
        self._signing = CryptographyRSAKey(ring.active.private, _ALGORITHM)
        # Public halves: jose warns when a private key verifies.
        self._verifying = {
            key.id: (key, CryptographyRSAKey(key.private.public_key(), _ALGORITHM)) for key in ring
        }

    def sign(self, payload: Mapping[str, object]) -> str:
        """Return the token; equal payloads, in equal order, give equal tokens (RFC 8017 §8.2)."""
        return jws.sign(payload, self._signing, headers=self._header, algorithm=_ALGORITHM)

    def open(self, token: str) -> tuple[dict[str, object], RsaKey]:
        """Return the signed payload and the key that signed it, or raise `InvalidToken` and nothing else."""
        try:
            return self._open(token)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            # Not `from error`: its text may quote the token.
            raise InvalidToken(f"malformed: {type(error).__name__}") from None

    def _open(self, token: str) -> tuple[dict[str, object], RsaKey]:
        if len(token) > _LONGEST_TOKEN:
            raise InvalidToken("too long")
        segments = _SEGMENTS.fullmatch(token)
        if segments is None:
            raise InvalidToken("not three segments of base64url")
        header_segment = segments[1]
        if len(header_segment) > _LONGEST_HEADER:
            raise InvalidToken("the header is too long")
        header, payload, signature = map(_decode, segments.groups())
        key, public = self._key_of(_object(header))
        # Not `jws.verify`, which would parse all of it once more, and less strictly.
        signed = token.rpartition(".")[0].encode("ascii")
        if not public.verify(signed, signature):  # type: ignore[no-untyped-call]  # the stub's gap
            raise InvalidToken("the signature is wrong")
        return _object(payload), key

    def _key_of(self, header: Mapping[str, object]) -> tuple[RsaKey, CryptographyRSAKey]:
        if header.keys() != {"alg", "kid", "typ"}:
            raise InvalidToken("the header has other members than alg, kid and typ")
        if header["alg"] != _ALGORITHM:
            raise InvalidToken("alg is not RS256")
        if header["typ"] != self._typ:
            raise InvalidToken(f"typ is not {self._typ}")
        pair = self._verifying.get(_text(header, "kid"))
        if pair is None:
            raise InvalidToken("kid is unknown")
        return pair


def _decode(segment: str) -> bytes:
    data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    # Unused bits must be zero, otherwise one token has several spellings.
    if urlsafe_b64encode(data).rstrip(b"=") != segment.encode("ascii"):
        raise InvalidToken("base64url is not canonical")
    return data


def _object(text: bytes) -> dict[str, object]:
    value = _JSON.decode(text.decode("utf-8"))
    if type(value) is not dict:
        raise InvalidToken("JSON, but no object")
    return value


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(members)
    if len(value) != len(members):
        raise InvalidToken("a member occurs twice")
    return value


def _no_number(constant: str) -> NoReturn:
    raise InvalidToken(f"{constant} is no JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number)


def _require(payload: Mapping[str, object], claim: str, expected: str) -> None:
    if payload.get(claim) != expected:
        raise InvalidToken(f"{claim} is not ours")


def _text(payload: Mapping[str, object], claim: str) -> str:
    value = payload.get(claim)
    if not isinstance(value, str):
        raise InvalidToken(f"{claim} is no text")
    return value


def _uuid(payload: Mapping[str, object], claim: str) -> UUID:
    text = _text(payload, claim)
    try:
        value = UUID(text)
    except ValueError:
        raise InvalidToken(f"{claim} is no UUID") from None
    if str(value) != text:
        raise InvalidToken(f"{claim} is no canonical UUID")
    return value


def _instant(payload: Mapping[str, object], claim: str) -> datetime:
    value = payload.get(claim)
    # `type`, for True is an int too.
    if type(value) is not int or not 0 <= value <= _LATEST:
        raise InvalidToken(f"{claim} is no time in whole seconds")
    return datetime.fromtimestamp(value, UTC)


def _seconds(instant: datetime) -> int:
    return int(instant.timestamp())
