"""The rules of `docs/security.md`."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def rules() -> Iterator[tuple[str, list[str]]]:
    """Yield each rule of the document, and the tests that it names."""
    document = (ROOT / "docs" / "security.md").read_text()
    for item in re.findall(r"^- .+(?:\n  .+)*", document, re.MULTILINE):
        rule, _, shown_by = item.partition("\n  - Shown by: ")
        yield rule, re.findall(r"`(\w+)`", shown_by)


RULES = list(rules())


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """Return the name of every test that there is."""
    return {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }


def test_there_are_rules() -> None:
    assert len(RULES) > 20


def test_every_line_is_short_enough_for_a_diff() -> None:
    lines = (ROOT / "docs" / "security.md").read_text().splitlines()

    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize(("rule", "named"), RULES, ids=lambda value: str(value)[:40])
def test_every_rule_names_tests_that_exist(rule: str, named: list[str], tests: set[str]) -> None:
    assert named, rule
    assert set(named) <= tests
