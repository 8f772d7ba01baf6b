"""Names that people could take for others, after UTS 39 (Unicode Security Mechanisms)."""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cache

from domain.unicode_tables import CONFUSABLES, SCRIPTS

# Scripts that are written together count as one (UTS 39 §5.1, table 1).
_WRITTEN_TOGETHER = {
    "Hani": {"Hanb", "Jpan", "Kore"},
    "Hira": {"Jpan"},
    "Kana": {"Jpan"},
    "Hang": {"Kore"},
    "Bopo": {"Hanb"},
}


def is_of_one_script(text: str) -> bool:
    """Return whether one script has all characters of `text` (UTS 39 §5.1: single-script).

    Digits, punctuation, symbols and most marks are common to all scripts. Chinese with Bopomofo, Japanese with its
    three scripts and Korean with Chinese characters are one.
    """
    if text.isascii():
        return True
    left: frozenset[str] | None = None
    for character in text:
        scripts = _scripts_of(character)
        if scripts:
            left = scripts if left is None else left & scripts
            if not left:
                return False
    return True


def skeleton(text: str) -> str:
    """Return the skeleton of `text` (UTS 39 §4): equal for texts that look alike. Never show it."""
    prototypes = _prototypes()
    mapped = "".join(prototypes.get(c, c) for c in unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFD", mapped)


def _scripts_of(character: str) -> frozenset[str]:
    """Return the scripts that a character is used in; none if it is common to all."""
    starts, ranges = _script_ranges()
    last, scripts = ranges[bisect_right(starts, ord(character)) - 1]
    return scripts if ord(character) <= last else frozenset()


@cache
def _script_ranges() -> tuple[list[int], list[tuple[int, frozenset[str]]]]:
    """Return where each range of code points starts, in order, and its last one with its scripts."""
    found = {0: (0, frozenset[str]())}
    for names, ranges in _entries(SCRIPTS):
        scripts = set(names)
        for name in names:
            scripts |= _WRITTEN_TOGETHER.get(name, set())
        for each in ranges:
            first, last = each.split("-")
            found[int(first, 16)] = int(last, 16), frozenset(scripts)
    ordered = sorted(found.items())
    return [start for start, _ in ordered], [end for _, end in ordered]


@cache
def _prototypes() -> Mapping[str, str]:
    """Return the character that each confusable one looks like."""
    return {
        chr(int(source, 16)): "".join(chr(int(point, 16)) for point in target)
        for target, sources in _entries(CONFUSABLES)
        for source in sources
    }


def _entries(table: str) -> Iterator[tuple[list[str], list[str]]]:
    for line in table.replace("\n ", " ").splitlines():
        key, _, values = line.partition(":")
        yield key.split(), values.split()
