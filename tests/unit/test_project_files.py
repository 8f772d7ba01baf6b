"""The files that greet a visitor of the repository are true."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
GREETING = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    ".pre-commit-config.yaml",
    ".github/pull_request_template.md",
    ".github/workflows/ci.yml",
    ".github/workflows/dependencies.yml",
    *(f"docs/adr/{path.name}" for path in sorted((ROOT / "docs/adr").glob("*.md"))),
)


@pytest.mark.parametrize("name", GREETING)
def test_every_make_command_that_is_mentioned_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    commands = re.findall(
        r"(?:`|run: |entry: |^)make ((?:[a-z-]+(?![a-z=-]) ?)+)", text, re.MULTILINE
    )

    assert {target for command in commands for target in command.split()} <= TARGETS


@pytest.mark.parametrize("name", [name for name in GREETING if name.endswith(".md")])
def test_every_link_to_a_file_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("https://") or ((ROOT / name).parent / link).is_file(), link


def test_every_decision_is_listed_and_says_why_and_what_follows() -> None:
    decisions = sorted((ROOT / "docs/adr").glob("0*.md"))
    listed = (ROOT / "docs/adr/README.md").read_text()

    assert len(decisions) >= 8
    for path in decisions:
        text = path.read_text()
        assert f"({path.name})" in listed
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]


def test_ci_installs_every_program_without_which_tests_are_skipped() -> None:
    """In both of its jobs that run all tests."""
    ci = (ROOT / ".github/workflows/ci.yml").read_text()
    tests = "".join(path.read_text() for path in ROOT.glob("tests/**/*.py"))
    needed = set(re.findall(r"apt-get install ([a-z][a-z-]+)", tests))
    [programs] = re.findall(r"^  PROGRAMS: (.+)$", ci, re.MULTILINE)

    assert needed >= {"faketime", "pgbouncer", "rabbitmq-server"}
    assert needed - set(programs.split()) == set()
    assert len(re.findall(r"apt-get install .*\$PROGRAMS", ci)) == 2
