"""Which passwords are accepted (NIST SP 800-63B-4 §3.1.1.2, OWASP ASVS 5.0 V6.2)."""

import time
from collections.abc import Collection, Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.identity import Password, PasswordPolicy, PasswordRejected

ADA = ("ada.lovelace", "Ada.Lovelace@example.org", "Ada King Lovelace")
COMMON = frozenset({"password", "password1", "qwertyuiop", "abc123", "1q2w3e4r5t6y", "dragon"})
FULL_WIDTH = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)}


def verdict(
    text: str,
    *,
    identifiers: Iterable[str] = ADA,
    common: Collection[str] = COMMON,
    most_bytes: int = 290,
) -> str | None:
    """Return the rule that `text` breaks, if any."""
    try:
        PasswordPolicy().check(
            Password(text),
            identifiers=identifiers,
            is_common=common.__contains__,
            most_bytes=most_bytes,
        )
    except PasswordRejected as rejected:
        return rejected.rule
    return None


@pytest.mark.parametrize(
    "text",
    [
        "correct horse battery staple",
        "alllowercaseandnothingelse",
        "94827716440583",
        "пароль из четырёх слов",
        "🦄🌈🦄🍀🦖🦉🐙🦊🐝🌵🍄🪐",
        "a passphrase with portico in it",
        "x" * 64 + "y" * 63 + "z",
    ],
)
def test_any_text_of_12_to_128_characters_that_is_hard_to_guess_is_accepted(text: str) -> None:
    assert verdict(text) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("x" * 60, 60),
        ('"' * 60, 120),  # as JSON writes it: \\"
        ("密" * 60, 180),
        ("🦄" * 60, 240),
        (
            "\uff58" * 60,
            180,
        ),  # full width: normalised it is x, but it is typed and encrypted like this
    ],
    ids=["ASCII", "quotes", "Chinese", "emoji", "full width"],
)
def test_a_password_that_no_client_could_encrypt_is_refused(text: str, size: int) -> None:
    assert verdict(text, most_bytes=size - 1) == "too_long"
    assert verdict(text, most_bytes=size) != "too_long"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "too_short"),
        ("elevenchars", "too_short"),
        ("x" + "yz" * 64, "too_long"),
        ("twelve\x00characters", "not_text"),
        ("two\nlines of text", "not_text"),
        ("half a \ud83e unicorn", "not_text"),
    ],
)
def test_the_error_says_which_rule_failed(text: str, rule: str) -> None:
    assert verdict(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        "Qwertyuiop!!",
        "1q2w3e4r5t6y",
        "passwordpassword",
        "Password1Password1",
        "Password1!Password1!",
        "p@ssw0rd2024",
        "!!!PASSWORD!!!",
        "__dragon__1234",
        "password1234".translate(FULL_WIDTH),
        "aaaaaaaaaaaa",
        "abababababab",
        "123412341234",
        "............",
        "dragon" * 21,
    ],
)
def test_a_common_password_is_refused_however_it_is_decorated(text: str) -> None:
    assert verdict(text) == "too_common"


@pytest.mark.parametrize(
    "text",
    [
        "ada.lovelace",
        "ADA.LOVELACE1",
        "Lovelace-1815!",
        "l0velace_l0velace",
        "ecalevol.ecalevol",
        "ada.lovelace@example.org",
        "kinglovelace!",
        "portico-portico",
        "P0rt1c0_2026!",
        "lovelace-1234".translate(FULL_WIDTH),
    ],
)
def test_a_password_made_of_words_about_its_owner_is_refused(text: str) -> None:
    assert verdict(text) == "too_similar"


def test_a_name_spelt_with_digits_is_found_when_the_password_spells_it_out() -> None:
    assert verdict("johndoe-johndoe", identifiers=["j0hnd0e"]) == "too_similar"


def test_a_word_about_its_owner_may_be_part_of_a_longer_password() -> None:
    assert verdict("lovelace wrote notes on the engine") is None


def test_short_words_about_its_owner_do_not_count() -> None:
    assert verdict("ada-1815-ada!") is None


def test_length_is_counted_after_normalisation() -> None:
    assert verdict("ﬃ" * 4, identifiers=()) != "too_short"


def test_the_error_names_the_field_that_the_caller_asked_about() -> None:
    with pytest.raises(PasswordRejected) as rejected:
        PasswordPolicy().check(
            Password("short"),
            identifiers=(),
            is_common=COMMON.__contains__,
            most_bytes=290,
            field="new_password",
        )
    assert rejected.value.field == "new_password"
    assert "12 characters" in rejected.value.detail


@given(st.text(max_size=160), st.lists(st.text(max_size=40), max_size=3))
def test_every_text_gets_a_verdict(text: str, identifiers: list[str]) -> None:
    assert verdict(text, identifiers=identifiers) in {
        None,
        "too_short",
        "too_long",
        "not_text",
        "too_common",
        "too_similar",
    }


@pytest.mark.parametrize(
    "text",
    [
        "a" + "1" * 1022 + "a",
        "ab" * 511 + "c",
        "a" * 1023 + "b",
        "!" * 1022 + "a!",
        ("a" * 31 + "b") * 31 + "c",
        "\u0301" * 1024,
    ],
)
def test_no_password_keeps_the_policy_busy(text: str) -> None:
    began = time.process_time()
    with_long_passwords = PasswordPolicy(longest=1024)
    with suppress(PasswordRejected):
        with_long_passwords.check(
            Password(text), identifiers=ADA, is_common=COMMON.__contains__, most_bytes=10_000
        )
    assert time.process_time() - began < 0.5
