"""Identity: users, their names, and the password policy."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, NewType
from uuid import UUID

from domain.confusables import is_of_one_script, skeleton
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.text import casefold_key, has_invisible, nfc_stripped, nfkc_stripped, problem_with
from domain.versions import next_version

UserId = NewType("UserId", UUID)


@dataclass(frozen=True, slots=True)
class Username:
    """The name of a user for log-in: 2 to 100 visible characters, no white space, no `@` (that is an email).

    A new one is of one script (UTS 39 §5.1), for letters of several may look alike; what was stored before stays.
    """

    LENGTH: ClassVar = (2, 100)

    value: str
    is_new: InitVar[bool] = True

    def __post_init__(self, is_new: bool) -> None:
        object.__setattr__(self, "value", nfkc_stripped(self.value))
        problem = problem_with(self.value, *self.LENGTH)
        if problem is not None:
            raise InvalidUsername(problem)
        if re.search(r"[\s@]", self.value):
            raise InvalidUsername("must not contain white space or @")
        if has_invisible(self.value):
            raise InvalidUsername("must not contain invisible characters")
        if is_new and not is_of_one_script(self.value):
            raise InvalidUsername("must not mix scripts: some of their letters look alike")

    @property
    def key(self) -> str:
        """The form in which usernames are compared."""
        return casefold_key(self.value)

    @property
    def skeleton(self) -> str:
        """The form that look-alike usernames share, as typed or in lower case."""
        return skeleton(casefold_key(skeleton(self.value)))


_ADDRESS = re.compile(r"[^\s@]{1,64}@[^\s@.]+(\.[^\s@.]+)*")

# Characters that IDNA reads as a dot between two labels (UTS 46 §2.3).
_DOTS = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))


@dataclass(frozen=True, slots=True)
class Email:
    """An address of at most 254 characters (RFC 5321 §4.5.3.1.3); its syntax and its scripts are checked.

    The parts of a new one are of one script each; what was stored before stays.
    """

    LENGTH: ClassVar = (3, 254)

    value: str
    is_new: InitVar[bool] = True

    def __post_init__(self, is_new: bool) -> None:
        local, at, domain = nfc_stripped(self.value).rpartition("@")
        domain = domain.translate(_DOTS)
        object.__setattr__(self, "value", f"{local}{at}{domain}")
        problem = problem_with(self.value, *self.LENGTH)
        if problem is not None:
            raise InvalidEmail(problem)
        if has_invisible(self.value):
            raise InvalidEmail("must not contain invisible characters")
        # The form that is compared, too: some characters become a space in it, or another `@`.
        if not _ADDRESS.fullmatch(self.value) or re.search(r"\s|@.*@", self.key):
            raise InvalidEmail("is not an email address")
        if is_new:
            parts = [local, *map(_label, domain.split("."))]
            # Invalid Punycode, or Punycode of characters that cannot be typed, is no name of IDNA.
            if any(not part or has_invisible(part) or problem_with(part, 1, 254) for part in parts):
                raise InvalidEmail("has a domain that is no domain name")
            if not all(map(is_of_one_script, parts)):
                raise InvalidEmail(
                    "must not mix scripts in one part: some of their letters look alike"
                )

    @property
    def key(self) -> str:
        """The form in which addresses are compared: a domain in Unicode equals its Punycode."""
        folded = casefold_key(self.value)
        if _PUNYCODE not in folded:
            return folded
        local, at, domain = folded.rpartition("@")
        return casefold_key(
            f"{local}{at}{'.'.join(_label(each) or each for each in domain.split('.'))}"
        )


_PUNYCODE = "xn--"


def _label(label: str) -> str:
    """Return a label of a domain in Unicode; empty if it claims to be Punycode (RFC 5891 §4.4) and is not."""
    folded = casefold_key(label)
    if not folded.startswith(_PUNYCODE):
        return label
    try:
        decoded = folded.removeprefix(_PUNYCODE).encode("ascii").decode("punycode")
    except UnicodeError:
        return ""
    is_name = decoded == decoded.lower() and not re.search(r"[\s@.]", decoded)
    return decoded if is_name and not decoded.isascii() else ""


def login_name(text: str) -> Username | Email | None:
    """Return `text` as a username, or else as an email; None if it is neither."""
    for kind in (Username, Email):
        try:
            return kind(text, is_new=False)
        except Invalid:
            continue
    return None


@dataclass(frozen=True, slots=True)
class PersonName:
    """The name of a person: 2 to 100 characters on one line."""

    LENGTH: ClassVar = (2, 100)

    value: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", nfc_stripped(self.value))
        problem = problem_with(self.value, *self.LENGTH)
        if problem is not None:
            raise InvalidName(problem)

    @property
    def key(self) -> str:
        """The form in which names are searched."""
        return casefold_key(self.value)


@dataclass(frozen=True, slots=True)
class Password:
    """A plaintext password, NFKC-normalised (NIST SP 800-63B-4 §3.1.1.2), hidden from `repr`."""

    value: str = field(repr=False)
    sealed_size: int = field(init=False, repr=False, compare=False)
    """The bytes of the text as typed inside a JSON string, which is what clients encrypt."""

    def __post_init__(self) -> None:
        quoted = json.dumps(self.value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        object.__setattr__(self, "sealed_size", len(quoted) - 2)
        object.__setattr__(self, "value", unicodedata.normalize("NFKC", self.value))


ONE_TIME_PASSWORD_LIFETIME = timedelta(hours=24)
"""The time in which a one-time password can log in (OWASP ASVS 5.0 V6.4.1)."""


class UserStatus(StrEnum):
    """Whether a user can log in and make requests."""

    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(slots=True, kw_only=True)
class User:
    """A person who can log in."""

    id: UserId
    username: Username
    email: Email
    name: PersonName
    password_hash: str = field(repr=False)
    status: UserStatus = UserStatus.ACTIVE
    is_admin: bool = False
    must_change_password: bool = False
    """Whether the password is a one-time password."""
    one_time_until: datetime | None = None
    """The end of the one-time password; None after its log-in."""
    created_at: datetime
    updated_at: datetime
    password_changed_at: datetime
    sessions_ended_at: datetime | None = None
    """When all sessions were last ended, except by a change of password."""
    last_login_at: datetime | None = None

    @property
    def is_active(self) -> bool:
        """Whether log-in and requests are accepted."""
        return self.status is UserStatus.ACTIVE

    def rename(self, name: PersonName, *, at: datetime) -> None:
        """Change the name."""
        self.name = name
        self.updated_at = next_version(self.updated_at, at)

    def change_email(self, email: Email, *, at: datetime) -> None:
        """Change the email address."""
        self.email = email
        self.updated_at = next_version(self.updated_at, at)

    @property
    def sessions_valid_from(self) -> datetime:
        """Sessions that were opened before this time are invalid. It only moves forward."""
        return max(self.password_changed_at, self.sessions_ended_at or self.password_changed_at)

    def password_logs_in(self, *, at: datetime) -> bool:
        """Return whether the password can log in: a one-time password can do so once, before it expires."""
        return not self.must_change_password or (
            self.one_time_until is not None and at < self.one_time_until
        )

    def change_password(self, password_hash: str, *, at: datetime) -> None:
        """Set a password that the user chose. This completes a forced change and ends older sessions."""
        self.password_hash = password_hash
        self.must_change_password = False
        self.one_time_until = None
        self.password_changed_at = self._later(at)
        self.updated_at = next_version(self.updated_at, at)

    def give_one_time_password(self, password_hash: str, *, at: datetime) -> None:
        """Set a one-time password: valid for one log-in, after which the user must change it."""
        self.change_password(password_hash, at=at)
        self.make_password_one_time(at=at)

    def make_password_one_time(self, *, at: datetime) -> None:
        """Let the present password open one session, soon, and nothing but its change."""
        self.must_change_password = True
        self.one_time_until = at + ONE_TIME_PASSWORD_LIFETIME

    def end_sessions(self, *, at: datetime) -> None:
        """End every session that was opened before `at`."""
        self.sessions_ended_at = self._later(at)

    def _later(self, at: datetime) -> datetime:
        # The clocks of two hosts may differ; the time must not go back.
        before = self.sessions_valid_from
        return at if at >= before else before + timedelta(microseconds=1)

    def identifiers(self) -> tuple[str, ...]:
        """Return the words about this user that a password must not consist of."""
        return self.username.value, self.email.value, self.name.value


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordPolicy:
    """The rules of a new password (NIST SP 800-63B-4 §3.1.1.2, OWASP ASVS 5.0 V6.2): no rules of composition."""

    shortest: int = 12
    longest: int = 128

    def check(
        self,
        password: Password,
        *,
        identifiers: Iterable[str],
        is_common: Callable[[str], bool],
        most_bytes: int,
        field: str = "password",
    ) -> None:
        """Raise `PasswordRejected` with the first rule that `password` breaks.

        `most_bytes` is the most that a client can encrypt: a longer password could not log in.
        """
        text = password.value
        if len(text) < self.shortest:
            rule, detail = "too_short", f"needs at least {self.shortest} characters"
        elif len(text) > self.longest:
            rule, detail = "too_long", f"may have at most {self.longest} characters"
        elif password.sealed_size > most_bytes:
            rule, detail = (
                "too_long",
                f"takes {password.sealed_size} bytes and may take {most_bytes}: use fewer characters",
            )
        elif problem_with(text, shortest=0, longest=self.longest):
            rule, detail = "not_text", "has a character that cannot be typed"
        elif any(is_common(form) for form in _plain_forms(text)):
            rule, detail = "too_common", "is among the passwords that attackers try first"
        elif _is_made_of(text, (*identifiers, "portico")):
            rule, detail = (
                "too_similar",
                "is too similar to the username, the email, the name or Portico",
            )
        else:
            return
        raise PasswordRejected(rule, detail, field=field)


_LEET = str.maketrans("013457@$!", "oieastasi")


def _plain_forms(text: str) -> Iterator[str]:
    """Yield `text` without the characters that people add to a common password."""
    folded = casefold_key(text)
    bare = _undecorated(folded)
    plain = folded.translate(_LEET)
    for form in (folded, plain, bare, bare.translate(_LEET), _undecorated(plain)):
        yield form
        if repeated := re.fullmatch(r"(.+?)\1+", form, re.DOTALL):
            unit = repeated[1]
            # One to four repeated characters are in no list, but in every attack.
            yield "password" if len(unit) <= 4 else unit  # noqa: PLR2004
            yield _undecorated(unit)


def _undecorated(text: str) -> str:
    """Return `text` from its first to its last letter."""
    letters = re.search(r"[^\W\d_](?:.*[^\W\d_])?", text, re.DOTALL)
    return letters[0] if letters else ""


def _is_made_of(text: str, identifiers: Iterable[str]) -> bool:
    """Return whether fewer than eight characters remain after the words about the person are removed."""
    folded = casefold_key(text)
    known = [casefold_key(identifier) for identifier in identifiers]
    plain = {word for i in known for word in (i, *re.split(r"[\W_]+", i))}
    for form, words in (
        (folded, plain),
        (folded.translate(_LEET), plain | {word.translate(_LEET) for word in plain}),
    ):
        rest = form
        for word in sorted(sorted(words), key=len, reverse=True):
            if len(word) >= 4:  # noqa: PLR2004 - a shorter word is in every other sentence
                rest = rest.replace(word, "").replace(word[::-1], "")
        if rest != form and len(rest) < 8:  # noqa: PLR2004 - NIST's floor for any password
            return True
    return False


class InvalidUsername(Invalid):
    """The username breaks a rule."""

    code = "identity.invalid_username"

    def __init__(self, problem: str) -> None:
        super().__init__(f"The username {problem}", field="username")


class InvalidEmail(Invalid):
    """The email address breaks a rule."""

    code = "identity.invalid_email"

    def __init__(self, problem: str) -> None:
        super().__init__(f"The email {problem}", field="email")


class InvalidName(Invalid):
    """The person's name breaks a rule."""

    code = "identity.invalid_name"

    def __init__(self, problem: str) -> None:
        super().__init__(f"The name {problem}", field="name")


class PasswordRejected(Invalid):
    """The new password breaks the policy; `rule` names the rule."""

    code = "identity.password_rejected"

    def __init__(self, rule: str, detail: str, *, field: str = "password") -> None:
        super().__init__(f"The password {detail}", field=field)
        self.rule = rule


class WrongPassword(Invalid):
    """The current password is wrong."""

    code = "identity.wrong_password"

    def __init__(self) -> None:
        super().__init__("The present password is wrong", field="old_password")


class UnreadablePassword(Invalid):
    """A new password could not be decrypted or parsed."""

    code = "identity.unreadable_password"

    def __init__(self, *, field: str) -> None:
        super().__init__(
            "The password could not be decrypted, is too old, or was sent before; "
            "fetch the public key and encrypt it again",
            field=field,
        )


class UsernameTaken(Conflict):
    """Another user has this username, or a look-alike."""

    code = "identity.username_taken"

    def __init__(self, username: Username) -> None:
        super().__init__(f"The username {username.value}, or one that looks like it, is taken")
        self.username = username


class EmailTaken(Conflict):
    """Another user has this email address; case is ignored."""

    code = "identity.email_taken"

    def __init__(self, email: Email) -> None:
        super().__init__(f"{email.value} is already registered")
        self.email = email


class UserNotFound(NotFound):
    """There is no such user."""

    code = "identity.user_not_found"

    def __init__(self, user: UserId | str) -> None:
        super().__init__(f"There is no user {user}")
        self.user = user


class RegistrationClosed(Forbidden):
    """Registration is closed: administrators create accounts."""

    code = "identity.registration_closed"

    def __init__(self) -> None:
        super().__init__("Registration is closed; ask an administrator for an account")


class AdministratorExists(Conflict):
    """There is an administrator already."""

    code = "identity.administrator_exists"

    def __init__(self) -> None:
        super().__init__("There is an active administrator already")


class PasswordChangeRequired(Forbidden):
    """The user must change their one-time password first."""

    code = "identity.password_change_required"

    def __init__(self, user_id: UserId) -> None:
        super().__init__("Change your password first; until then nothing else is open to you")
        self.user_id = user_id
