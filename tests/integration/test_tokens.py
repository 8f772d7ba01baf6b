"""Tokens: what they are made of, what is refused, and what a rotation of keys does to them."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import jose.backends
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jose import jws
from jose.backends.cryptography_backend import CryptographyRSAKey

from adapters.security.keys import Keys
from adapters.security.tokens import JoseTokens
from application.ports.system import Clock
from application.settings import KeyRing, RetiredKey, SessionSettings
from domain.identity import UserId
from domain.sessions import AccessClaims, InvalidToken, RefreshClaims, SessionId, TokenId
from tests.support.builders import A_MOMENT
from tests.support.clock import MovableClock
from tests.support.forgery import Forger, base64url, decoded
from tests.support.keys import a_pem, keys_with

SETTINGS = SessionSettings(issuer="https://id.example.org", audience="api", client_id="web")
NOW = int(A_MOMENT.timestamp())
SUB, SID, JTI = (f"018f0000-0000-7000-8000-00000000abc{digit}" for digit in "123")
FINGERPRINT = "0123456789abcdef" * 2


def access_claims(**changes: Any) -> AccessClaims:
    claims = AccessClaims(
        user_id=UserId(UUID(SUB)),
        session_id=SessionId(UUID(SID)),
        token_id=TokenId(UUID(JTI)),
        issued_at=A_MOMENT,
        expires_at=A_MOMENT + SETTINGS.access_lifetime,
        authenticated_at=A_MOMENT - timedelta(hours=1),
    )
    return replace(claims, **changes)


def refresh_claims(**changes: Any) -> RefreshClaims:
    claims = RefreshClaims(
        user_id=UserId(UUID(SUB)),
        session_id=SessionId(UUID(SID)),
        token_id=TokenId(UUID(JTI)),
        issued_at=A_MOMENT,
        expires_at=A_MOMENT + SETTINGS.refresh_idle,
        fingerprint=FINGERPRINT,
    )
    return replace(claims, **changes)


def tokens_with(
    keys: Keys | None = None, clock: Clock | None = None, *, cached_callers: int = 20
) -> JoseTokens:
    keys = keys or keys_with()
    settings = replace(SETTINGS, cached_callers=cached_callers)
    return JoseTokens(keys.access, keys.refresh, settings, clock or MovableClock())


def an_access_forger() -> Forger:
    keys = keys_with()
    return Forger(
        header={"alg": "RS256", "kid": keys.access.active.id, "typ": "at+jwt"},
        payload={
            "iss": "https://id.example.org",
            "aud": "api",
            "sub": SUB,
            "client_id": "web",
            "iat": NOW,
            "nbf": NOW,
            "exp": NOW + 600,
            "jti": JTI,
            "sid": SID,
            "auth_time": NOW - 3600,
        },
        key=keys.access.active,
        other_key=keys.refresh.active,
        other_audience="https://id.example.org/refresh",
        now=NOW,
        lifetime=timedelta(minutes=10),
    )


def a_refresh_forger() -> Forger:
    keys = keys_with()
    return Forger(
        header={"alg": "RS256", "kid": keys.refresh.active.id, "typ": "rt+jwt"},
        payload={
            "iss": "https://id.example.org",
            "aud": "https://id.example.org/refresh",
            "sub": SUB,
            "sid": SID,
            "jti": JTI,
            "iat": NOW,
            "exp": NOW + 7 * 86400,
            "agent": FINGERPRINT,
        },
        key=keys.refresh.active,
        other_key=keys.access.active,
        other_audience="api",
        now=NOW,
        lifetime=timedelta(days=7),
    )


def parts_of(token: str) -> tuple[dict[str, object], dict[str, object]]:
    header, payload, _ = token.split(".")
    return json.loads(decoded(header)), json.loads(decoded(payload))


def refusal_of(verify: Callable[[str], object], token: str) -> InvalidToken:
    """Return the one error that there is, after looking for the token in what would be logged of it."""
    with pytest.raises(InvalidToken) as caught:
        verify(token)
    error = caught.value
    assert error.reason
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    said = f"{error!r} {error.reason}"
    for segment in token.split("."):
        assert len(segment) < 20 or segment not in said
    return error


# --- what they are made of ----------------------------------------------------------------------


def test_an_access_token_says_who_in_which_session_until_when_and_nothing_more() -> None:
    header, payload = parts_of(tokens_with().issue_access(access_claims()))

    assert header == an_access_forger().header
    assert payload == an_access_forger().payload


def test_a_refresh_token_is_for_us_alone() -> None:
    header, payload = parts_of(tokens_with().issue_refresh(refresh_claims()))

    assert header == a_refresh_forger().header
    assert payload == a_refresh_forger().payload


def test_jose_signs_with_cryptography_and_never_loads_its_own_arithmetic() -> None:
    """Its fallback, `ecdsa`, has a timing leak that will not be mended (CVE-2024-23342)."""
    assert jose.backends.RSAKey is CryptographyRSAKey


# --- what is refused ----------------------------------------------------------------------------


def test_the_forger_makes_good_tokens_when_it_changes_nothing() -> None:
    assert tokens_with().verify_access(an_access_forger().token()) == access_claims()
    assert tokens_with().verify_refresh(a_refresh_forger().token()) == refresh_claims()


def test_no_forged_access_token_is_accepted(subtests: pytest.Subtests) -> None:
    verify = tokens_with().verify_access
    verify(an_access_forger().token())  # what is remembered helps no forgery
    for name, token in an_access_forger().all():
        with subtests.test(name):
            refusal_of(verify, token)


def test_no_forged_refresh_token_is_accepted(subtests: pytest.Subtests) -> None:
    verify = tokens_with().verify_refresh
    for name, token in a_refresh_forger().all():
        with subtests.test(name):
            refusal_of(verify, token)


def test_log_out_forgives_expiry_and_nothing_else(subtests: pytest.Subtests) -> None:
    tokens = tokens_with()

    def verify(token: str) -> AccessClaims:
        return tokens.verify_access(token, allow_expired=True)

    for name, token in an_access_forger().all():
        with subtests.test(name):
            if name in {"expired", "expiring this second"}:
                assert verify(token).session_id == access_claims().session_id
            else:
                refusal_of(verify, token)


def test_an_access_token_is_no_refresh_token_and_the_other_way_round() -> None:
    tokens = tokens_with()

    refusal_of(tokens.verify_refresh, tokens.issue_access(access_claims()))
    refusal_of(tokens.verify_access, tokens.issue_refresh(refresh_claims()))


@pytest.mark.parametrize(
    "changes",
    [{"client_id": "other"}, {"nbf": NOW - 1}, {"nbf": NOW + 1}, {"auth_time": NOW + 31}],
    ids=str,
)
def test_the_claims_of_access_tokens_alone_are_checked_too(changes: dict[str, object]) -> None:
    forger = an_access_forger()

    refusal_of(tokens_with().verify_access, forger.token(payload=forger.payload | changes))


def test_a_claim_that_a_newer_version_added_is_ignored() -> None:
    """Processes of two versions run side by side while a release is rolled out (RFC 7519 §4)."""
    forger = an_access_forger()
    token = forger.token(payload=forger.payload | {"amr": ["pwd"]})

    assert tokens_with().verify_access(token) == access_claims()


def test_the_clock_of_another_process_may_be_ahead_by_the_leeway() -> None:
    forger = an_access_forger()
    ahead = {"iat": NOW + 30, "nbf": NOW + 30, "exp": NOW + 630}

    claims = tokens_with().verify_access(forger.token(payload=forger.payload | ahead))

    assert claims.issued_at == A_MOMENT + timedelta(seconds=30)


@given(st.text())
def test_no_text_makes_verifying_fail_in_another_way(text: str) -> None:
    refusal_of(tokens_with().verify_access, text)
    refusal_of(tokens_with().verify_refresh, text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=10,
)


@given(JSON, JSON, st.binary(max_size=300))
def test_no_json_makes_verifying_fail_in_another_way(
    header: object, payload: object, signature: bytes
) -> None:
    segments = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)

    refusal_of(tokens_with().verify_access, ".".join(base64url(part) for part in segments))


@given(st.dictionaries(st.sampled_from(("sub", "jti", "iat", "exp", "auth_time", "aud")), JSON))
def test_the_claims_are_the_signed_ones(changes: dict[str, object]) -> None:
    """Our own key signed it, so that only the checks of the claims are left."""
    forger = an_access_forger()
    payload = forger.payload | changes

    try:
        claims = tokens_with().verify_access(forger.token(payload=payload))
    except InvalidToken:
        return
    assert parts_of(tokens_with().issue_access(claims))[1] == payload


# --- rotation -----------------------------------------------------------------------------------


def keys_before() -> Keys:
    def ring(purpose: str) -> KeyRing:
        return KeyRing(active=a_pem(purpose), next=a_pem(f"new {purpose}"))

    return keys_with(access=ring("access"), refresh=ring("refresh"))


def keys_after() -> Keys:
    def ring(purpose: str) -> KeyRing:
        return KeyRing(
            active=a_pem(f"new {purpose}"),
            next=a_pem(f"newer {purpose}"),
            retired=(RetiredKey(pem=a_pem(purpose), until_unix=NOW + 3600),),
        )

    return keys_with(access=ring("access"), refresh=ring("refresh"))


def test_a_rotation_logs_no_user_out() -> None:
    """Tokens of the old key are accepted, and processes not yet restarted accept those of the new one."""
    old = tokens_with(keys_before())
    new = tokens_with(keys_after())

    for signer, verifier in ((old, new), (new, old)):
        assert verifier.verify_access(signer.issue_access(access_claims())) == access_claims()
        assert verifier.verify_refresh(signer.issue_refresh(refresh_claims())) == refresh_claims()


async def test_a_retired_key_is_forgotten_when_its_time_has_passed() -> None:
    """Who finds it in an old backup cannot sign with it."""
    clock = MovableClock()
    token = tokens_with(keys_before()).issue_access(access_claims())
    tokens = tokens_with(keys_after(), clock)
    await clock.pass_time(timedelta(hours=1))

    error = refusal_of(lambda text: tokens.verify_access(text, allow_expired=True), token)

    assert error.reason == "its key was retired too long ago"


async def test_the_published_keys_are_the_next_the_active_and_the_retired_ones_until_their_time() -> (
    None
):
    clock = MovableClock()
    tokens = tokens_with(keys_after(), clock)

    def published() -> list[str]:
        return [key["kid"] for key in tokens.public_keys()]

    newer, new, old = (key.id for key in keys_after().access)
    assert published() == [newer, new, old]
    await clock.pass_time(timedelta(hours=1))
    assert published() == [newer, new]


def test_others_can_verify_an_access_token_with_what_is_published() -> None:
    tokens = tokens_with()
    token = tokens.issue_access(access_claims())
    (published,) = tokens.public_keys()

    assert published.keys() == {"kty", "n", "e", "kid", "use", "alg"}
    assert (published["kty"], published["use"], published["alg"]) == ("RSA", "sig", "RS256")
    assert parts_of(token)[0]["kid"] == published["kid"]
    assert json.loads(jws.verify(token, dict(published), ["RS256"]))["sub"] == SUB


# --- what is remembered -------------------------------------------------------------------------


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the tokens whose signatures were verified, in a list that grows."""
    verified: list[str] = []
    verify = CryptographyRSAKey.verify

    def record(key: CryptographyRSAKey, message: bytes, signature: bytes) -> bool:
        verified.append(f"{message.decode('ascii')}.{base64url(signature)}")
        valid: bool = verify(key, message, signature)  # type: ignore[no-untyped-call]  # the stub's gap
        return valid

    monkeypatch.setattr(CryptographyRSAKey, "verify", record)
    return verified


def test_an_accepted_access_token_is_verified_once(verifications: list[str]) -> None:
    tokens = tokens_with()
    token = tokens.issue_access(access_claims())

    assert [tokens.verify_access(token) for _ in range(3)] == [access_claims()] * 3
    assert verifications == [token]


def test_a_token_that_was_refused_is_not_remembered(verifications: list[str]) -> None:
    forger, tokens = an_access_forger(), tokens_with()
    token = forger.token(payload=forger.payload | {"aud": "others"})

    for _ in range(3):
        refusal_of(tokens.verify_access, token)

    assert verifications == [token] * 3


def test_another_spelling_of_a_remembered_token_is_refused() -> None:
    tokens = tokens_with()
    token = tokens.issue_access(access_claims())
    tokens.verify_access(token)

    for spelling in (f"{token}=", f"{token} ", f" {token}", token[:-1], f"{token}\udcff"):
        refusal_of(tokens.verify_access, spelling)


async def test_a_remembered_token_expires_to_the_second() -> None:
    clock = MovableClock()
    tokens = tokens_with(clock=clock)
    token = tokens.issue_access(access_claims())
    tokens.verify_access(token)

    await clock.pass_time(SETTINGS.access_lifetime - timedelta(seconds=1))
    assert tokens.verify_access(token) == access_claims()
    await clock.pass_time(timedelta(seconds=1))
    assert refusal_of(tokens.verify_access, token).reason == "expired"
    assert tokens.verify_access(token, allow_expired=True) == access_claims()


async def test_a_remembered_token_is_from_the_future_when_the_clock_is_set_back() -> None:
    clock = MovableClock()
    tokens = tokens_with(clock=clock)
    token = tokens.issue_access(access_claims())
    tokens.verify_access(token)

    await clock.pass_time(-SETTINGS.token_leeway)
    assert tokens.verify_access(token) == access_claims()
    await clock.pass_time(timedelta(seconds=-1))
    assert refusal_of(tokens.verify_access, token).reason == "iat is in the future"


async def test_a_remembered_token_of_a_retired_key_is_refused_with_its_key() -> None:
    clock = MovableClock()
    token = tokens_with(keys_before()).issue_access(access_claims())
    tokens = tokens_with(keys_after(), clock)
    tokens.verify_access(token)

    await clock.pass_time(timedelta(hours=1))
    error = refusal_of(lambda text: tokens.verify_access(text, allow_expired=True), token)

    assert error.reason == "its key was retired too long ago"


def test_no_more_tokens_are_remembered_than_the_settings_say(verifications: list[str]) -> None:
    tokens = tokens_with(cached_callers=1)
    first, second = (
        tokens.issue_access(access_claims(token_id=TokenId(UUID(int=number))))
        for number in range(2)
    )

    for token in (first, first, second, second, first):
        tokens.verify_access(token)

    assert verifications == [first, second, first]
