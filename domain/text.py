"""Texts from outside: normalised, bounded, and without characters that cannot be stored or shown."""

import re
import unicodedata
from typing import Literal

# Control characters (NUL among them: PostgreSQL cannot store it), lone surrogates, line and paragraph
# separators, the direction overrides that make one name look like another, and Unicode's noncharacters:
# they will never be characters, and are not for interchange.
_REFUSED = re.compile(
    "[\0-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)

# Unicode's Default_Ignorable_Code_Point, and the Braille blank.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


# PostgreSQL stores no NUL, and UTF-8 encodes no lone surrogate.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return whether every store can hold `text`: it has no NUL and no lone surrogate."""
    return _UNSTORABLE.search(text) is None


def storable_text(text: str) -> str:
    """Return `text` with U+FFFD in place of each NUL, and a question mark in place of each lone surrogate."""
    if is_storable(text):
        return str(text)  # of a subclass too
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def problem_with(text: str, shortest: int, longest: int) -> str | None:
    """Return why `text` is not one line of `shortest` to `longest` characters, or None.

    Invisible characters count only towards the upper bound: some scripts and emoji need them.
    """
    is_plain = text.isascii() and text.isprintable()
    if not is_plain and _REFUSED.search(text, 0, longest):
        return "has a character that is not allowed"
    if len(text) > longest or len(_INVISIBLE.sub("", text)) < shortest:
        return f"must have {shortest} to {longest} characters"
    return None


def has_invisible(text: str) -> bool:
    """Return whether `text` has an invisible character."""
    return _INVISIBLE.search(text) is not None


def nfc_stripped(text: str) -> str:
    """Return `text` composed (NFC) and without white space around it."""
    return _normalize("NFC", text).strip()


def casefold_key(text: str) -> str:
    """Return the form in which texts are compared (NFKC, case-folded)."""
    return _normalize("NFKC", _normalize("NFKC", text).casefold())


def search_key(keyword: str) -> str | None:
    """Return the form of `keyword` to search for; None if it has characters that we never store."""
    return None if problem_with(keyword, shortest=0, longest=_LONGEST) else casefold_key(keyword)


def nfkc_stripped(text: str) -> str:
    """Return `text` in compatibility form (NFKC) and without white space around it."""
    return _normalize("NFKC", text).strip()


# Email addresses are the longest texts that can be searched.
_LONGEST = 254

# At most four code points compose to one, so a longer text is too long for every rule.
_LONGEST_WORTH_NORMALIZING = 4 * _LONGEST


def _normalize(form: Literal["NFC", "NFKC"], text: str) -> str:
    # The time is quadratic in a run of combining marks: 100,000 of them would stop the process for seconds.
    return text if len(text) > _LONGEST_WORTH_NORMALIZING else unicodedata.normalize(form, text)
