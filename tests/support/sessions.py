"""Sessions in a valid state, and the refresh tokens of their holders."""

from datetime import datetime, timedelta
from uuid import UUID

from domain.identity import UserId
from domain.sessions import RefreshClaims, Session, SessionId, TokenId
from tests.support.builders import A_MOMENT, a_uuid

IDLE, ABSOLUTE, GRACE = timedelta(days=7), timedelta(days=30), timedelta(seconds=10)
FIREFOX, CHROME = "f" * 32, "c" * 32
ADA, GRACE_HOPPER = UserId(UUID(int=1)), UserId(UUID(int=2))


def a_token_id() -> TokenId:
    """Return an id that no other has."""
    return TokenId(a_uuid())


def a_session(
    *,
    user_id: UserId = ADA,
    at: datetime = A_MOMENT,
    ends_after: timedelta = ABSOLUTE,
    fingerprint: str = FIREFOX,
) -> Session:
    """Return a session that is opened at `at`."""
    return Session(
        id=SessionId(a_uuid()),
        user_id=user_id,
        token_id=a_token_id(),
        valid_from=A_MOMENT,
        token_issued_at=at,
        created_at=at,
        last_seen_at=at,
        ends_at=at + ends_after,
        fingerprint=fingerprint,
        agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        address="2001:db8::1",
    )


def token_of(holder: Session) -> RefreshClaims:
    """Return the refresh token that the holder of `holder` got last."""
    return RefreshClaims(
        user_id=holder.user_id,
        session_id=holder.id,
        token_id=holder.token_id,
        issued_at=holder.token_issued_at,
        expires_at=min(holder.token_issued_at + IDLE, holder.ends_at),
        fingerprint=holder.fingerprint,
    )
