"""What every `Tokens` promises."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.memory.tokens import MemoryTokens
from adapters.security.tokens import JoseTokens
from application.ports.tokens import Tokens
from application.settings import KeyRing, SessionSettings
from domain.identity import UserId
from domain.sessions import AccessClaims, InvalidToken, RefreshClaims, SessionId, TokenId
from tests.support.builders import A_MOMENT
from tests.support.clock import SECOND, MovableClock
from tests.support.keys import a_pem, keys_with

SETTINGS = SessionSettings()

ACCESS = AccessClaims(
    user_id=UserId(UUID(int=1)),
    session_id=SessionId(UUID(int=2)),
    token_id=TokenId(UUID(int=3)),
    issued_at=A_MOMENT,
    expires_at=A_MOMENT + SETTINGS.access_lifetime,
    authenticated_at=A_MOMENT - timedelta(hours=1),
)
REFRESH = RefreshClaims(
    user_id=UserId(UUID(int=1)),
    session_id=SessionId(UUID(int=2)),
    token_id=TokenId(UUID(int=4)),
    issued_at=A_MOMENT,
    expires_at=A_MOMENT + SETTINGS.refresh_idle,
    fingerprint="f" * 32,
)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


def tokens_of(installation: str, kind: str, clock: MovableClock) -> Tokens:
    """Return the tokens of one installation of Portico: another one has other keys."""
    if kind == "memory":
        return MemoryTokens(SETTINGS, clock)
    keys = keys_with(
        access=KeyRing(active=a_pem(f"access of {installation}")),
        refresh=KeyRing(active=a_pem(f"refresh of {installation}")),
    )
    return JoseTokens(keys.access, keys.refresh, SETTINGS, clock)


@pytest.fixture(params=["memory", "jose"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tokens(kind: str, clock: MovableClock) -> Tokens:
    return tokens_of("ours", kind, clock)


def test_a_token_says_what_it_was_issued_for(tokens: Tokens) -> None:
    assert tokens.verify_access(tokens.issue_access(ACCESS)) == ACCESS
    assert tokens.verify_refresh(tokens.issue_refresh(REFRESH)) == REFRESH


def test_times_are_cut_to_whole_seconds(tokens: Tokens) -> None:
    later = timedelta(milliseconds=999)
    access = replace(
        ACCESS,
        issued_at=ACCESS.issued_at + later,
        expires_at=ACCESS.expires_at + later,
        authenticated_at=ACCESS.authenticated_at + later,
    )
    refresh = replace(
        REFRESH, issued_at=REFRESH.issued_at + later, expires_at=REFRESH.expires_at + later
    )

    assert tokens.verify_access(tokens.issue_access(access)) == ACCESS
    assert tokens.verify_refresh(tokens.issue_refresh(refresh)) == REFRESH


def test_equal_claims_give_an_equal_refresh_token(tokens: Tokens) -> None:
    """A lost answer can be given again, although no token is stored."""
    token = tokens.issue_refresh(REFRESH)

    assert tokens.issue_refresh(replace(REFRESH)) == token
    assert tokens.issue_refresh(replace(REFRESH, token_id=TokenId(UUID(int=5)))) != token
    assert tokens.issue_refresh(replace(REFRESH, issued_at=REFRESH.issued_at + SECOND)) != token


def test_a_token_is_of_one_kind(tokens: Tokens) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify_refresh(tokens.issue_access(ACCESS))
    with pytest.raises(InvalidToken):
        tokens.verify_access(tokens.issue_refresh(REFRESH))


async def test_a_token_is_over_at_its_expiry_to_the_second(
    tokens: Tokens, clock: MovableClock
) -> None:
    access, refresh = tokens.issue_access(ACCESS), tokens.issue_refresh(REFRESH)

    await clock.pass_time(SETTINGS.access_lifetime - SECOND)
    assert tokens.verify_access(access) == ACCESS
    await clock.pass_time(SECOND)
    with pytest.raises(InvalidToken):
        tokens.verify_access(access)

    await clock.pass_time(SETTINGS.refresh_idle - SETTINGS.access_lifetime - SECOND)
    assert tokens.verify_refresh(refresh) == REFRESH
    await clock.pass_time(SECOND)
    with pytest.raises(InvalidToken):
        tokens.verify_refresh(refresh)


async def test_expiry_alone_can_be_forgiven(tokens: Tokens, clock: MovableClock) -> None:
    token = tokens.issue_access(ACCESS)

    await clock.pass_time(timedelta(days=365))

    assert tokens.verify_access(token, allow_expired=True) == ACCESS
    with pytest.raises(InvalidToken):
        tokens.verify_access("forged", allow_expired=True)


def test_a_token_from_the_future_is_refused(tokens: Tokens) -> None:
    """Beyond the leeway that the clocks of two processes are given."""
    ahead = SETTINGS.token_leeway
    good = replace(ACCESS, issued_at=A_MOMENT + ahead, expires_at=ACCESS.expires_at + ahead)
    bad = replace(good, issued_at=good.issued_at + SECOND, expires_at=good.expires_at + SECOND)

    assert tokens.verify_access(tokens.issue_access(good)) == good
    with pytest.raises(InvalidToken):
        tokens.verify_access(tokens.issue_access(bad))


def test_a_token_that_lives_longer_than_the_settings_say_is_refused(tokens: Tokens) -> None:
    """Who shortens the lifetime means the tokens that are out there too."""
    access = replace(ACCESS, expires_at=ACCESS.expires_at + SECOND)
    refresh = replace(REFRESH, expires_at=REFRESH.expires_at + SECOND)

    with pytest.raises(InvalidToken):
        tokens.verify_access(tokens.issue_access(access))
    with pytest.raises(InvalidToken):
        tokens.verify_refresh(tokens.issue_refresh(refresh))


def test_a_token_of_another_installation_is_refused(
    tokens: Tokens, kind: str, clock: MovableClock
) -> None:
    theirs = tokens_of("theirs", kind, clock)

    with pytest.raises(InvalidToken):
        tokens.verify_access(theirs.issue_access(ACCESS))
    with pytest.raises(InvalidToken):
        tokens.verify_refresh(theirs.issue_refresh(REFRESH))


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "\N{SNOWMAN}", "\ud800", "x" * 10_000])
def test_any_other_text_is_refused(tokens: Tokens, text: str) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify_access(text)
    with pytest.raises(InvalidToken):
        tokens.verify_refresh(text)


def test_published_keys_hold_nothing_private(tokens: Tokens) -> None:
    for key in tokens.public_keys():
        assert not key.keys() & {"d", "p", "q", "dp", "dq", "qi", "k"}
