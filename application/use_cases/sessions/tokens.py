"""The pair of tokens of a session."""

from dataclasses import dataclass

from application.ports.system import Clock, IdGenerator
from application.ports.tokens import Tokens
from application.settings import SessionSettings
from domain.sessions import AccessClaims, RefreshClaims, Session, TokenId


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """A new access and refresh token, with their lifetimes in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    refresh_expires_in: int


@dataclass(frozen=True, slots=True)
class IssueTokens:
    """Sign the tokens for the current state of a session."""

    tokens: Tokens
    clock: Clock
    ids: IdGenerator
    settings: SessionSettings

    def __call__(self, session: Session) -> TokenPair:
        now = self.clock.now().replace(microsecond=0)
        access_expires_at = min(now + self.settings.access_lifetime, session.ends_at)
        refresh_expires_at = min(
            session.token_issued_at + self.settings.refresh_idle, session.ends_at
        )
        return TokenPair(
            access_token=self.tokens.issue_access(
                AccessClaims(
                    user_id=session.user_id,
                    session_id=session.id,
                    token_id=TokenId(self.ids.new()),
                    issued_at=now,
                    expires_at=access_expires_at,
                    authenticated_at=session.created_at,
                )
            ),
            # Everything in it comes from the session, so a repeated refresh signs the same token again.
            refresh_token=self.tokens.issue_refresh(
                RefreshClaims(
                    user_id=session.user_id,
                    session_id=session.id,
                    token_id=session.token_id,
                    issued_at=session.token_issued_at,
                    expires_at=refresh_expires_at,
                    fingerprint=session.fingerprint,
                )
            ),
            expires_in=max(0, int((access_expires_at - now).total_seconds())),
            refresh_expires_in=max(0, int((refresh_expires_at - now).total_seconds())),
        )
