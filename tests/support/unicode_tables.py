"""Makes `domain/unicode_tables.py` from the files of Unicode.

`python -m tests.support.unicode_tables DIRECTORY > domain/unicode_tables.py`, where the directory has Scripts.txt,
ScriptExtensions.txt and PropertyValueAliases.txt of the Unicode Character Database, and confusables.txt of UTS 39.
"""

import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

HEAD = '''"""Data of Unicode (© Unicode, Inc., Unicode License v3) for UTS 39; see `tests/support/unicode_tables.py`."""

'''


def rows(path: Path) -> Iterator[list[str]]:
    """Yield the fields of each line."""
    for line in path.read_text("utf-8").splitlines():
        fields = [field.strip() for field in line.partition("#")[0].split(";")]
        if len(fields) > 1:
            yield fields


def points(field: str) -> range:
    """Return the code points that `0041` or `0041..005A` stands for."""
    first, _, last = field.partition("..")
    return range(int(first, 16), int(last or first, 16) + 1)


def scripts(directory: Path) -> Iterator[str]:
    """Yield `Scripts: first-last first-last …`, in which the scripts are the extensions of these characters."""
    short = {
        name: code
        for kind, code, name, *_ in (
            fields for fields in rows(directory / "PropertyValueAliases.txt") if fields[0] == "sc"
        )
    }
    of = {
        point: short[script]
        for field, script in rows(directory / "Scripts.txt")
        for point in points(field)
    }
    of |= {
        point: " ".join(sorted(extensions.split()))
        for field, extensions in rows(directory / "ScriptExtensions.txt")
        for point in points(field)
    }
    ranges = defaultdict[str, list[list[int]]](list)
    for point, names in sorted(of.items()):
        # Common and inherited characters go with every script.
        if names not in {"Zyyy", "Zinh"}:
            found = ranges[names]
            if found and found[-1][1] == point - 1:
                found[-1][1] = point
            else:
                found.append([point, point])
    for names, found in sorted(ranges.items()):
        yield f"{names}: " + " ".join(f"{first:x}-{last:x}" for first, last in found)


def confusables(directory: Path) -> Iterator[str]:
    """Yield `prototype: sources`, of the characters that are left by a compatibility decomposition."""
    sources = defaultdict[str, list[str]](list)
    for source, target, *_ in rows(directory / "confusables.txt"):
        character = chr(int(source, 16))
        if unicodedata.normalize("NFKD", character) == character:
            sources[target.lower()].append(f"{ord(character):x}")
    for target, found in sorted(sources.items()):
        yield f"{target}: {' '.join(found)}"


def literal(name: str, lines: Iterator[str]) -> str:
    """Return an assignment of a text of these lines."""
    text = "\n".join(
        part
        for line in lines
        for part in wrap(line, 110, subsequent_indent=" ", break_on_hyphens=False)
    )
    return f'{name} = """\\\n{text}\n"""\n'


if __name__ == "__main__":
    where = Path(sys.argv[1])
    sys.stdout.write(HEAD + literal("SCRIPTS", scripts(where)))
    sys.stdout.write("\n" + literal("CONFUSABLES", confusables(where)))
