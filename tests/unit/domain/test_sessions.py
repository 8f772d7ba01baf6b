"""Devices, and what is inside an encrypted password."""

import json
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.identity import Password
from domain.log_in_throttle import lock_ladder, networks_of
from domain.password_transport import UnsealedPassword, is_fresh, parse_plaintext
from domain.sessions import AgentBinding, fingerprint
from tests.support.builders import A_MOMENT

WINDOWS_CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/{major}.0.{minor}.{patch} Safari/537.36"
)
ONE_OF_EACH = {
    "chrome on windows": WINDOWS_CHROME.format(major=141, minor=0, patch=0),
    "edge on windows": WINDOWS_CHROME.format(major=141, minor=0, patch=0) + " Edg/141.0.0.0",
    "firefox on windows": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "firefox on linux": "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "safari on macos": (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/26.0 Safari/605.1.15"
    ),
    "safari on an iphone": (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/26.0 Mobile/15E148 Safari/604.1"
    ),
    "safari on an ipad": (
        "Mozilla/5.0 (iPad; CPU OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/26.0 Mobile/15E148 Safari/604.1"
    ),
    "chrome on an iphone": (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "CriOS/141.0.7390.69 Mobile/15E148 Safari/604.1"
    ),
    "chrome on android": (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/141.0.0.0 Mobile Safari/537.36"
    ),
    "samsung on android": (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
        "SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36"
    ),
    "chrome on chromeos": (
        "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/141.0.0.0 Safari/537.36"
    ),
    "opera on macos": (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/141.0.0.0 Safari/537.36 OPR/124.0.0.0"
    ),
    "curl": "curl/8.16.0",
    "httpx": "python-httpx/0.28.1",
    "an empty header": "",
    "no header": None,
}


def of_family(agent: str | None) -> str:
    return fingerprint(agent, AgentBinding.FAMILY)


# --- the device ---------------------------------------------------------------------------------


@given(st.tuples(*[st.integers(0, 9999)] * 6))
def test_a_point_release_is_the_same_device(versions: tuple[int, ...]) -> None:
    before, after = versions[:3], versions[3:]
    template = WINDOWS_CHROME.replace("{major}.0.{minor}.{patch}", "{}.0.{}.{}")
    assert of_family(template.format(*before)) == of_family(template.format(*after))


def test_different_browsers_systems_and_kinds_of_device_are_different_devices() -> None:
    assert len({of_family(agent) for agent in ONE_OF_EACH.values()}) == len(ONE_OF_EACH)


def test_a_client_that_is_no_browser_is_known_by_its_product() -> None:
    assert of_family("curl/8.16.0") == of_family("curl/7.88.1")
    assert of_family("curl/8.16.0") != of_family("Wget/1.25.0")


def test_only_the_beginning_of_a_long_header_counts() -> None:
    chrome = WINDOWS_CHROME.format(major=141, minor=0, patch=0)
    assert of_family(chrome + " " * 1024 + "Edg/141.0.0.0") == of_family(chrome)


def test_a_strict_binding_compares_the_exact_header() -> None:
    strict = AgentBinding.STRICT
    assert fingerprint("curl/8.16.0", strict) == fingerprint("curl/8.16.0", strict)
    assert fingerprint("curl/8.16.0", strict) != fingerprint("curl/8.16.1", strict)
    assert fingerprint(None, strict) != fingerprint("", strict)
    assert fingerprint("none", strict) != fingerprint(None, strict)


@given(st.none() | st.text(st.characters(), max_size=3000), st.sampled_from(AgentBinding))
def test_every_header_has_a_fingerprint_of_32_hex_digits(
    agent: str | None, binding: AgentBinding
) -> None:
    assert len(bytes.fromhex(fingerprint(agent, binding))) == 16


# --- guessing -----------------------------------------------------------------------------------


def test_each_lock_is_twice_as_long_as_the_one_before_up_to_the_longest() -> None:
    ladder = lock_ladder(first=timedelta(seconds=30), longest=timedelta(hours=1))

    assert ladder[0] == timedelta(seconds=30)
    assert ladder[-1] == timedelta(hours=1)
    assert all(longer == min(2 * shorter, ladder[-1]) for shorter, longer in pairwise(ladder))


@pytest.mark.parametrize(("first", "longest"), [(0, 60), (60, 30), (5, 5)])
def test_a_ladder_of_one_lock_is_a_ladder(first: int, longest: int) -> None:
    ladder = lock_ladder(first=timedelta(seconds=first), longest=timedelta(seconds=longest))

    assert ladder == (timedelta(seconds=min(first, longest)),)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
        ("2001:db8:0:0::1", "2001:0db8::2"),
        ("somewhere", "elsewhere"),
        ("", "192.0.2.1/24"),
    ],
)
def test_addresses_that_one_guesser_can_use_are_one_network(one: str, other: str) -> None:
    assert networks_of(one) == networks_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1"), ("192.0.2.1", "unknown")],
)
def test_addresses_of_two_networks_are_not(one: str, other: str) -> None:
    assert networks_of(one)[0] != networks_of(other)[0]


# --- the password on its way --------------------------------------------------------------------


def test_a_plaintext_is_a_bare_password() -> None:
    assert parse_plaintext("pässword".encode()) == UnsealedPassword(Password("pässword"), None)


def test_a_plaintext_may_say_when_it_was_sealed() -> None:
    plaintext = b'{"p": "secret", "t": 1772366400000}'
    assert parse_plaintext(plaintext) == UnsealedPassword(Password("secret"), 1772366400000)


@pytest.mark.parametrize(
    "plaintext",
    [
        b"{}",
        b"[]",
        b"null",
        b"123456",
        b'"secret"',
        b'{"p": "secret"}',
        b'{"t": 1}',
        b'{"p": 1, "t": 1}',
        b'{"p": "secret", "t": "1"}',
        b'{"p": "secret", "t": 1.0}',
        b'{"p": "secret", "t": true}',
        b'{"p": "secret", "t": NaN}',
        b'{"p": "secret", "t": 1e400}',
        b'{"p": "secret", "t": 1, "more": 2}',
        b'{"p": "secret", "t": 1} ...',
        b'{"p": "secret", "t": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_anything_but_that_exact_frame_is_a_bare_password(plaintext: bytes) -> None:
    """A person may have a password that looks like JSON; a broken frame fails like any wrong password."""
    assert parse_plaintext(plaintext) == UnsealedPassword(Password(plaintext.decode()), None)


def test_bytes_that_are_no_text_are_no_password() -> None:
    assert parse_plaintext(b"\xff\xfe") is None


@given(st.binary())
def test_every_plaintext_is_read_without_an_error(plaintext: bytes) -> None:
    parse_plaintext(plaintext)


@given(st.text(), st.integers())
def test_every_framed_password_comes_out_as_it_went_in(password: str, sealed_at: int) -> None:
    plaintext = json.dumps({"p": password, "t": sealed_at}).encode()
    unsealed = parse_plaintext(plaintext)

    assert unsealed == UnsealedPassword(Password(password), sealed_at)
    assert unsealed is not None
    assert is_fresh(unsealed, A_MOMENT, window=timedelta(seconds=1)) in {True, False}


def sealed(seconds: float) -> UnsealedPassword:
    """Return a password that says it was sealed so many seconds after `A_MOMENT`."""
    return UnsealedPassword(Password("secret"), round((A_MOMENT.timestamp() + seconds) * 1000))


@pytest.mark.parametrize("seconds", [-120, 0, 120])
def test_a_password_is_fresh_within_the_window_on_both_sides(seconds: float) -> None:
    assert is_fresh(sealed(seconds), A_MOMENT, window=timedelta(seconds=120))


@pytest.mark.parametrize("seconds", [-120.001, 120.001])
def test_a_password_is_stale_beyond_the_window_on_both_sides(seconds: float) -> None:
    assert not is_fresh(sealed(seconds), A_MOMENT, window=timedelta(seconds=120))


def test_a_bare_password_is_never_fresh() -> None:
    unsealed = UnsealedPassword(Password("secret"), None)

    assert not is_fresh(unsealed, A_MOMENT, window=timedelta(days=366))


def test_nothing_that_shows_a_password_on_its_way_shows_the_secret() -> None:
    assert "secret" not in repr(parse_plaintext(b"secret"))
