"""The table of `docs/security.md`."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def rules() -> Iterator[tuple[str, list[str]]]:
    """Yield each rule of the document, and the tests that it names."""
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and not set(cells[0]) <= {"-", ""}:
            yield cells[0], re.findall(r"`(\w+)`", cells[2])


RULES = [(rule, tests) for rule, tests in rules() if rule != "rule"]


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


@pytest.mark.parametrize(("rule", "named"), RULES, ids=lambda value: str(value)[:40])
def test_every_rule_names_tests_that_exist(rule: str, named: list[str], tests: set[str]) -> None:
    assert named, rule
    assert set(named) <= tests
