"""What `DeviceCookies` promises, kept by memory and by an HMAC."""

import re

import pytest

from adapters.memory.device_cookies import MemoryDeviceCookies
from adapters.security.device_cookies import HmacDeviceCookies
from application.ports.device_cookies import DeviceCookies


@pytest.fixture(params=["memory", "hmac"])
def cookies(request: pytest.FixtureRequest) -> DeviceCookies:
    return MemoryDeviceCookies() if request.param == "memory" else HmacDeviceCookies(b"k" * 32)


def test_every_token_is_another_one_and_fits_into_a_cookie(cookies: DeviceCookies) -> None:
    tokens = [cookies.new() for _ in range(1000)]

    assert len(set(tokens)) == 1000
    for token in tokens:
        assert cookies.is_ours(token)
        # RFC 6265 §4.1.1: no white space, quotes, commas, semicolons or backslashes.
        assert re.fullmatch(r"[A-Za-z0-9_.-]{32,200}", token)


@pytest.mark.parametrize(
    "token", [None, "", ".", "a", "a.b", "\ud800", "\ud800.\ud800", "é." + "0" * 64, "x" * 10_000]
)
def test_a_forged_token_is_not_ours(cookies: DeviceCookies, token: str | None) -> None:
    assert not cookies.is_ours(token)


def test_every_process_with_the_same_secret_knows_a_token_and_no_other_does() -> None:
    token = HmacDeviceCookies(b"k" * 32).new()

    assert HmacDeviceCookies(b"k" * 32).is_ours(token)
    assert not HmacDeviceCookies(b"l" * 32).is_ours(token)


def test_a_token_with_a_changed_character_is_not_ours(cookies: DeviceCookies) -> None:
    token = cookies.new()

    for i, character in enumerate(token):
        changed = token[:i] + ("a" if character != "a" else "b") + token[i + 1 :]
        assert not cookies.is_ours(changed)
