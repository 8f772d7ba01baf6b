"""Names, addresses, and what happens to a user."""

import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from domain.text import fold, tidy
from tests.fakes.builders import A_MOMENT, a_user

LATER = A_MOMENT + timedelta(hours=1)

# --- usernames ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["admin", "ada.lovelace", "émilie", "данила", "用户名称长", "x" * 100]
)
def test_a_username_has_5_to_100_visible_characters_of_any_script(text: str) -> None:
    assert Username(text).value == text


@pytest.mark.parametrize("text", ["", "root", "x" * 101, "     ", "ab\u00adcd"])
def test_a_username_is_neither_shorter_nor_longer(text: str) -> None:
    with pytest.raises(InvalidUsername, match="5 to 100 characters"):
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
def test_a_username_does_not_differ_from_another_by_what_nobody_sees(invisible: str) -> None:
    with pytest.raises(InvalidUsername, match="invisible"):
        Username(f"admin{invisible}istrator")


@pytest.mark.parametrize("text", ["\u0430dmin", "admin\u03bf", "p\u0430ypal"])
def test_a_username_does_not_differ_from_another_by_a_letter_of_another_alphabet(text: str) -> None:
    with pytest.raises(InvalidUsername, match="look alike"):
        Username(text)


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
def test_what_is_no_address_is_refused(text: str) -> None:
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
def test_whatever_a_domain_has_between_its_labels_is_a_dot(dot: str) -> None:
    assert Email(f"ada@example{dot}org") == Email("ada@example.org")
    with pytest.raises(InvalidEmail):
        Email(f"ada@example{dot}{dot}org")


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
    assert fold(fold(text)) == fold(text)
    assert tidy(tidy(text)) == tidy(text)


@given(st.text(max_size=120))
def test_a_name_that_is_accepted_is_accepted_again_as_it_was_stored(text: str) -> None:
    for kind in (Username, Email, PersonName):
        try:
            value = kind(text).value
        except Invalid:
            continue
        assert kind(value).value == value


@given(st.text(max_size=120))
def test_whatever_case_a_name_is_typed_in_it_names_the_same_user(text: str) -> None:
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


def test_a_name_at_log_in_is_a_username_or_else_an_email_or_nobodys() -> None:
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


def test_whatever_ends_sessions_is_later_than_what_ended_sessions_before() -> None:
    """Also by a host whose clock is behind."""
    user = a_user()
    moments = [user.sessions_valid_from]
    for at in (LATER, A_MOMENT, LATER + timedelta(hours=1), A_MOMENT):
        user.end_sessions(at=at)
        moments.append(user.sessions_valid_from)
        user.change_password("$argon2id$new", at=at - timedelta(seconds=20))
        moments.append(user.sessions_valid_from)
    assert moments == sorted(set(moments))
