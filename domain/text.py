"""Text that came from outside: normalised, bounded, and free of characters that cannot be stored or shown."""

import unicodedata
from typing import Literal

# Control characters (NUL among them: PostgreSQL cannot store it), lone surrogates, and the
# direction overrides that make one name look like another.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs"})
_REFUSED = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def problem_with(text: str, *, shortest: int, longest: int) -> str | None:
    """Say what keeps `text` from being one line of `shortest` to `longest` characters, or None."""
    if any(c in _REFUSED or unicodedata.category(c) in _REFUSED_CATEGORIES for c in text[:longest]):
        return "has a character that is not allowed"
    if not shortest <= len(text) <= longest:
        return f"must have {shortest} to {longest} characters"
    return None


def tidy(text: str) -> str:
    """Return `text` composed (NFC) and without white space around it."""
    return _normalize("NFC", text).strip()


def fold(text: str) -> str:
    """Return the form in which two texts that people read as the same are equal (NFKC, case-folded)."""
    return _normalize("NFKC", _normalize("NFKC", text).casefold())


def compatible(text: str) -> str:
    """Return `text` without the differences of mere appearance (NFKC) and without white space around it."""
    return _normalize("NFKC", text).strip()


# Four code points compose to one at the most, so what is longer is too long for every rule here.
_LONGEST_WORTH_NORMALIZING = 4 * 254


def _normalize(form: Literal["NFC", "NFKC"], text: str) -> str:
    # The time is quadratic in a run of combining marks: 100,000 of them would stop the process for seconds.
    return text if len(text) > _LONGEST_WORTH_NORMALIZING else unicodedata.normalize(form, text)
