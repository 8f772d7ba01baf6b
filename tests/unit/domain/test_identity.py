"""Names, addresses, and what happens to a user."""

import time
import unicodedata
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.confusables import is_of_one_script
from domain.errors import Invalid
from domain.identity import (
    Email,
    InvalidEmail,
    InvalidName,
    InvalidUsername,
    Password,
    PersonName,
    Username,
    UserStatus,
    login_name,
)
from domain.text import casefold_key, nfc_stripped
from tests.support.builders import A_MOMENT, a_user

LATER = A_MOMENT + timedelta(hours=1)

# --- usernames ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["bob", "张伟", "ada.lovelace", "émilie", "данила", "用户名称长", "x" * 100]
)
def test_a_username_has_2_to_100_visible_characters_of_any_script(text: str) -> None:
    assert Username(text).value == text


@pytest.mark.parametrize("text", ["", "r", "x" * 101, "     ", "a\u00ad"])
def test_a_username_is_neither_shorter_nor_longer(text: str) -> None:
    with pytest.raises(InvalidUsername, match="2 to 100 characters"):
        Username(text)


@pytest.mark.parametrize("text", ["ada lovelace", "ada@home", "ada\uff20home", "ada\u3000lovelace"])
def test_a_username_has_no_white_space_and_cannot_be_taken_for_an_email(text: str) -> None:
    with pytest.raises(InvalidUsername, match="white space or @"):
        Username(text)


@pytest.mark.parametrize(
    "text", ["admin\x00istrator", "admin\nroot", "\u202enimda", "admin\ud800", "admin\u2028x"]
)
def test_a_username_cannot_break_a_line_or_turn_its_direction(text: str) -> None:
    with pytest.raises(InvalidUsername, match="not allowed"):
        Username(text)


@pytest.mark.parametrize(
    "invisible",
    ["\u200b", "\u200d", "\u00ad", "\ufeff", "\u3164", "\ufe0f", "\u2060", "\U000e0041"],
)
def test_a_username_does_not_differ_from_another_by_invisible_characters(invisible: str) -> None:
    with pytest.raises(InvalidUsername, match="invisible"):
        Username(f"admin{invisible}istrator")


@pytest.mark.parametrize(
    "text",
    [
        "\u0430dmin",  # Cyrillic
        "admin\u03bf",  # Greek
        "p\u0430ypal",
        "alphab\u0578t",  # Armenian
        "\u13aadmin",  # Cherokee
        "\ua4eedmin",  # Lisu
        "admin\u2c9f",  # Coptic
        "ada\u5f20",  # Chinese
        "user\u0661",  # a digit that is Arabic
    ],
)
def test_a_username_does_not_mix_scripts(text: str) -> None:
    """UTS 39 §5.1. What was stored under the rules of before is still a name."""
    with pytest.raises(InvalidUsername, match="look alike"):
        Username(text)
    assert Username(text, is_new=False).value == text


@pytest.mark.parametrize(
    "text",
    [
        "\u5c71\u7530\u305f\u308d\u3046",
        "\u30e4\u30de\u30c0\u592a\u90ce",
        "\uae40\u91d1",
        "\u5f20\u3105",
    ],
)
def test_scripts_that_are_written_together_count_as_one(text: str) -> None:
    """Japanese has three, Korean and Chinese two."""
    assert Username(text).value == text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("admin", "adm\u0131n"),
        ("admin", "\uff21dmin"),
        ("bob1", "bobl"),
        ("bobI", "bobl"),
        ("modern", "modem"),
        ("\u0410\u0412\u0421", "abc".upper()),  # all Cyrillic
        ("\u0441\u043e\u0440\u0443", "copy"),
        ("\u0578\u057d", "nu"),
        ("\u13aa\u13bf", "A\u13bf"),
    ],
)
def test_confusable_usernames_have_one_skeleton(one: str, other: str) -> None:
    """UTS 39 §4, as typed and in small letters."""
    assert Username(one, is_new=False).skeleton == Username(other, is_new=False).skeleton


def test_usernames_that_are_not_confusable_differ() -> None:
    names = ["ada", "ben", "\u5f20\u4f1f", "\u738b\u4f1f", "user-10", "user-2", "jose", "jos\u00e9"]
    assert len({Username(name).skeleton for name in names}) == len(names)


# The first word of a letter's name says its script, in these.
NAMED_AFTER = {
    "LATIN": "a",
    "GREEK": "\u03b1",
    "CYRILLIC": "\u0430",
    "ARMENIAN": "\u0561",
    "HEBREW": "\u05d0",
    "ARABIC": "\u0628",
    "DEVANAGARI": "\u0915",
    "THAI": "\u0e01",
    "GEORGIAN": "\u10d0",
    "CHEROKEE": "\u13a0",
    "COPTIC": "\u2c81",
    "LISU": "\ua4d0",
    "HIRAGANA": "\u3042",
    "KATAKANA": "\u30a2",
    "HANGUL": "\uac00",
    "CJK": "\u4e00",
}


WRITTEN_TOGETHER = {
    ("HIRAGANA", "KATAKANA"),
    ("HIRAGANA", "CJK"),
    ("KATAKANA", "CJK"),
    ("HANGUL", "CJK"),
}


def test_the_table_of_scripts_agrees_with_the_names_of_letters() -> None:
    checked = 0
    for point in (*range(0x80, 0x3400), *range(0xA4D0, 0xAD00)):
        letter = chr(point)
        script = unicodedata.name(letter, "").partition(" ")[0]
        example = NAMED_AFTER.get(script)
        if example and letter.isalpha() and unicodedata.normalize("NFKC", letter) == letter:
            checked += 1
            assert is_of_one_script(letter + example), hex(point)
            for other, foreign in NAMED_AFTER.items():
                if other != script and not {(script, other), (other, script)} & WRITTEN_TOGETHER:
                    assert not is_of_one_script(letter + foreign), (hex(point), other)
    assert checked > 2_000


def test_letters_that_only_newer_versions_of_unicode_have_belong_to_their_script() -> None:
    """Those of Unicode 16, which Python 3.14 has: it takes their names for letters."""
    for letter in map(chr, (0x1C89, 0x1C8A)):
        assert not is_of_one_script(f"{letter}a")
    for letter in map(chr, (*range(0xA7CB, 0xA7CE), *range(0xA7DA, 0xA7DD))):
        assert is_of_one_script(f"{letter}a")
        assert not is_of_one_script(f"{letter}\u0430")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Admin", "aDMIN"),
        ("\uff41dmin", "admin"),
        ("strasse", "straße"),
        ("re\u0301mi_", "ré\u006di_"),
        ("oﬃce", "office"),
    ],
)
def test_usernames_that_people_read_as_the_same_are_the_same(one: str, other: str) -> None:
    assert Username(one).key == Username(other).key


def test_white_space_around_a_username_is_not_part_of_it() -> None:
    assert Username("  admin\n") == Username("admin")


# --- email addresses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a@b", "ada+tag@mail.example.org", "o'hara@example.org", "ada@bücher.example"]
)
def test_an_email_has_something_before_and_after_one_at_sign(text: str) -> None:
    assert Email(text).value == text


@pytest.mark.parametrize(
    "text",
    [
        "ada",
        "@example.org",
        "ada@",
        "ada@@example.org",
        "ada@example..org",
        "ada@.org",
        "ada@example.org.",
        "ada lovelace@example.org",
        "x" * 65 + "@example.org",
        "ada@\u200bexample.org",
        "ada@example.org\r\nBcc: everybody@example.org",
        "ada@" + "x" * 251,
        "ada\uff20example.org@evil.example",
        "ada\ufdfa@example.org",
        "\u0430dmin@example.org",
        "admin@p\u0430ypal.example",
        "admin\uffff@example.org",
    ],
)
def test_a_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidEmail):
        Email(text)


def test_the_shape_of_a_hostile_address_is_refused_at_once() -> None:
    began = time.process_time()
    with pytest.raises(InvalidEmail):
        Email("a@" + "a." * 125 + "@")
    assert time.process_time() - began < 0.5


def test_each_part_of_an_address_may_have_an_alphabet_of_its_own() -> None:
    text = "\u0438\u0432\u0430\u043d@\u043f\u0440\u0438\u043c\u0435\u0440.example"
    assert Email(text).value == text


@pytest.mark.parametrize("dot", "\u3002\uff0e\uff61")
def test_any_dot_of_unicode_separates_the_labels_of_a_domain(dot: str) -> None:
    assert Email(f"ada@example{dot}org") == Email("ada@example.org")
    with pytest.raises(InvalidEmail):
        Email(f"ada@example{dot}{dot}org")


@pytest.mark.parametrize(
    ("unicode", "punycode"),
    [
        ("ada@m\u00fcnchen.example", "Ada@XN--MNCHEN-3YA.example"),
        ("ada@\u043f\u0440\u0438\u043c\u0435\u0440.example", "ada@xn--e1afmkfd.example"),
        ("ada@stra\u00dfe.example", "ada@xn--strae-oqa.example"),
        ("ada@m\u00fcnchen.example", "ada@\uff58\uff4e\uff0d\uff0dmnchen-3ya.example"),
    ],
)
def test_a_domain_in_unicode_and_in_punycode_is_one_mailbox(unicode: str, punycode: str) -> None:
    assert Email(unicode).key == Email(punycode).key


@pytest.mark.parametrize(
    "domain",
    ["xn--", "xn--abc-", "xn--999999999999", "xn--p-8sbkgc5ag7bhce", "xn--\u00fc"],
)
def test_false_punycode_or_one_that_hides_two_scripts_is_refused(domain: str) -> None:
    with pytest.raises(InvalidEmail):
        Email(f"ada@{domain}.example")


def test_upper_and_lower_case_is_one_mailbox() -> None:
    assert Email("Ada@Example.ORG").key == Email("ada@example.org").key


# --- names of people ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Bo",
        "Ada King, Countess of Lovelace",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "👩\u200d🚀 Ada",
    ],
)
def test_a_person_is_called_what_they_like_on_one_line(text: str) -> None:
    assert PersonName(text).value == text


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "\u200d\u200d",
        "x" * 101,
        "Ada\nLovelace",
        "Ada\u2029King",
        "Ada\x1b[2J",
        " A ",
        "Ada\ufffe",
        "Ada\ufdd0",
        "Ada\U0010ffff",
    ],
)
def test_a_name_is_visible_and_on_one_line(text: str) -> None:
    with pytest.raises(InvalidName):
        PersonName(text)


# --- text ---------------------------------------------------------------------------------------


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    assert casefold_key(casefold_key(text)) == casefold_key(text)
    assert nfc_stripped(nfc_stripped(text)) == nfc_stripped(text)


@given(st.text(max_size=120))
def test_a_name_that_is_accepted_is_accepted_again_as_it_was_stored(text: str) -> None:
    for kind in (Username, Email, PersonName):
        try:
            value = kind(text).value
        except Invalid:
            continue
        assert kind(value).value == value


@given(st.text(max_size=120))
def test_a_name_in_any_case_names_the_same_user(text: str) -> None:
    name = login_name(text)
    if name is not None:
        typed = login_name(name.key)
        assert typed is None or typed.key == name.key


@pytest.mark.parametrize("kind", [Username, Email, PersonName])
def test_a_long_run_of_combining_marks_is_refused_at_once(
    kind: type[Username | Email | PersonName],
) -> None:
    began = time.process_time()
    with pytest.raises(Invalid):
        kind("a" + "\u0301\u0323" * 100_000)
    assert time.process_time() - began < 0.5


def test_a_name_at_log_in_is_a_username_or_else_an_email_or_unknown() -> None:
    assert login_name("Admin") == Username("Admin")
    assert login_name("ada@example.org") == Email("ada@example.org")
    assert login_name("") is None
    assert login_name("a b") is None


def test_equal_passwords_typed_on_different_keyboards_are_equal() -> None:
    """NIST SP 800-63B-4 §3.1.1.2: normalise with NFKC before hashing."""
    assert Password("\uff50ass e\u0301") == Password("pass é")


# --- users --------------------------------------------------------------------------------------


def test_nothing_that_shows_a_user_or_a_password_shows_the_secret() -> None:
    user = a_user(password_hash="$argon2id$secret")

    assert "secret" not in repr(user)
    assert "secret" not in repr(Password("secret"))


def test_only_an_active_user_may_act() -> None:
    assert a_user().is_active
    assert not a_user(status=UserStatus.DISABLED).is_active


def test_a_change_of_name_and_email_is_dated() -> None:
    user = a_user()

    user.rename(PersonName("Ada King"), at=LATER)
    assert (user.name.value, user.updated_at) == ("Ada King", LATER)

    user.change_email(Email("king@example.org"), at=LATER + timedelta(hours=1))
    assert (user.email.value, user.updated_at) == (
        "king@example.org",
        LATER + timedelta(hours=1),
    )
    assert user.password_changed_at == A_MOMENT


def test_a_chosen_password_ends_the_need_to_choose_one() -> None:
    user = a_user(must_change_password=True)

    user.change_password("$argon2id$new", at=LATER)

    assert not user.must_change_password
    assert user.password_hash == "$argon2id$new"
    assert user.password_changed_at == user.updated_at == LATER


def test_a_one_time_password_logs_in_for_24_hours() -> None:
    user = a_user()
    assert user.password_logs_in(at=LATER + timedelta(days=9999))

    user.give_one_time_password("$argon2id$new", at=LATER)

    assert user.must_change_password
    assert user.password_logs_in(at=LATER + timedelta(hours=24, microseconds=-1))
    assert not user.password_logs_in(at=LATER + timedelta(hours=24))
    user.one_time_until = None
    assert not user.password_logs_in(at=LATER)


def test_each_end_of_sessions_is_later_than_the_one_before() -> None:
    """Also by a host whose clock is behind."""
    user = a_user()
    moments = [user.sessions_valid_from]
    for at in (LATER, A_MOMENT, LATER + timedelta(hours=1), A_MOMENT):
        user.end_sessions(at=at)
        moments.append(user.sessions_valid_from)
        user.change_password("$argon2id$new", at=at - timedelta(seconds=20))
        moments.append(user.sessions_valid_from)
    assert moments == sorted(set(moments))
