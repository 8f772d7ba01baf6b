"""`docs/asvs.md`: every requirement of OWASP ASVS 5.0.0 of level 1 and 2, once, with its state and proof."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "asvs.md").read_text()
STATES = {"done", "deployer", "not applicable", "differs", "open"}

# The standard's list: of each section, how many requirements are of level 1 and how many of level 2. They come first,
# in this order; those of level 3 follow.
STANDARD = """
1.1 0 2, 1.2 5 4, 1.3 2 9, 1.4 0 3, 1.5 1 1, 2.1 1 2, 2.2 2 1, 2.3 1 3, 2.4 0 1, 3.2 2 0, 3.3 1 3, 3.4 2 4, 3.5 3 2,
3.7 0 2, 4.1 1 2, 4.2 0 1, 4.3 0 2, 4.4 1 3, 5.1 0 1, 5.2 2 1, 5.3 2 0, 5.4 0 3, 6.1 1 2, 6.2 8 4, 6.3 2 2, 6.4 2 2,
6.5 0 5, 6.6 0 3, 6.8 0 4, 7.1 0 3, 7.2 4 0, 7.3 0 2, 7.4 2 3, 7.5 0 2, 7.6 0 2, 8.1 1 1, 8.2 2 1, 8.3 1 0, 8.4 0 1,
9.1 3 0, 9.2 1 3, 10.1 0 2, 10.2 0 2, 10.3 0 4, 10.4 5 6, 10.5 0 5, 10.6 0 2, 10.7 0 3, 11.1 0 2, 11.2 0 3, 11.3 2 1,
11.4 1 3, 11.5 0 1, 11.6 0 1, 12.1 1 2, 12.2 2 0, 12.3 0 4, 13.1 0 1, 13.2 0 5, 13.3 0 2, 13.4 1 4, 14.1 0 2,
14.2 1 3, 14.3 1 2, 15.1 1 2, 15.2 1 2, 15.3 1 6, 16.1 0 1, 16.2 0 5, 16.3 0 4, 16.4 0 3, 16.5 0 3, 17.1 0 1,
17.2 0 4, 17.3 0 2
"""


def requirements() -> list[tuple[str, str]]:
    """Return the number and the level of each requirement."""
    found = []
    for entry in STANDARD.replace("\n", " ").split(","):
        section, first, second = entry.split()
        levels = ["1"] * int(first) + ["2"] * int(second)
        found += [(f"{section}.{number}", level) for number, level in enumerate(levels, 1)]
    return found


ROWS = [
    tuple(cell.strip() for cell in row.strip("|").split(" | "))
    for row in re.findall(r"^\| \d+\.\d+\.\d+ .*$", DOCUMENT, re.MULTILINE)
]


def test_each_requirement_is_listed_once_with_its_level() -> None:
    assert Counter((row[0], row[1]) for row in ROWS) == Counter(requirements())


def test_each_requirement_has_a_state_and_a_reason() -> None:
    assert [row for row in ROWS if len(row) != 5 or row[3] not in STATES or not row[4]] == []


def test_all_named_tests_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }

    assert named - tests == set()
    assert len(named) > 100


def test_all_linked_documents_and_sections_exist() -> None:
    for link in re.findall(r"\]\(((?!https)[^)]+)\)", DOCUMENT):
        assert (ROOT / "docs" / link).exists(), link
    for section in re.findall(r'below, "([^"]+)"', DOCUMENT):
        assert f"## {section}\n" in DOCUMENT, section


def test_each_requirement_that_is_done_names_a_test_or_a_document() -> None:
    shown = re.compile(r"`test_\w+`|\]\(|below, \"")
    without = [row[0] for row in ROWS if row[3] == "done" and not shown.search(row[4])]

    assert without == []
