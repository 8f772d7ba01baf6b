"""Signed access and refresh tokens."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.sessions import AccessClaims, RefreshClaims


class Tokens(Protocol):
    """Signed tokens. Verifying raises `InvalidToken` for everything that is not exactly one of ours."""

    def issue_access(self, claims: AccessClaims) -> str:
        """Sign an access token with the active access key."""
        ...

    def verify_access(self, token: str, *, allow_expired: bool = False) -> AccessClaims:
        """Return the claims of a living access token, or of one that merely expired if that is allowed."""
        ...

    def issue_refresh(self, claims: RefreshClaims) -> str:
        """Sign a refresh token with the active refresh key; equal claims give an equal token."""
        ...

    def verify_refresh(self, token: str) -> RefreshClaims:
        """Return the claims of a living refresh token."""
        ...

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """Return the JWKs (RFC 7517) with which others verify access tokens.

        Those are the next, the active, and the retired ones until their last token has expired.
        """
        ...
