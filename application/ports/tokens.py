"""Signed access and refresh tokens."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.sessions import AccessClaims, RefreshClaims


class Tokens(Protocol):
    """Signed tokens. Verification raises `InvalidToken` for every token that this service did not issue."""

    def issue_access(self, claims: AccessClaims) -> str:
        """Sign an access token with the active access key."""
        ...

    def verify_access(self, token: str, *, allow_expired: bool = False) -> AccessClaims:
        """Return the claims of an access token. An expired one is invalid unless `allow_expired`."""
        ...

    def issue_refresh(self, claims: RefreshClaims) -> str:
        """Sign a refresh token with the active refresh key; equal claims give an equal token."""
        ...

    def verify_refresh(self, token: str) -> RefreshClaims:
        """Return the claims of a refresh token that has not expired."""
        ...

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """Return the JWKs (RFC 7517) that verify access tokens.

        These are the next key, the active key, and retired keys until their last token has expired.
        """
        ...
