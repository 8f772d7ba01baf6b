"""Revisions are read without alembic; in doubt it is asked."""

from pathlib import Path

import pytest

from adapters.postgres.revisions import are_applied

_REVISION = (
    "revision = {!r}\ndown_revision = {!r}\nbranch_labels = None\ndepends_on = None\n\n\n"
    "def upgrade() -> None:\n    pass\n"
)


@pytest.fixture
def line(tmp_path: Path) -> Path:
    """Return a directory of three revisions, one after the other."""
    (tmp_path / "__init__.py").write_text('"""Ours."""\n')
    for revision, previous in (("b2", "a1"), ("a1", None), ("c3", "b2")):
        write(tmp_path, revision, previous)
    return tmp_path


def write(directory: Path, revision: str, previous: object) -> None:
    (directory / f"{revision}.py").write_text(_REVISION.format(revision, previous))


def test_a_database_at_the_last_revision_with_all_before_it_has_everything(line: Path) -> None:
    assert are_applied(["c3"], ["b2", "a1", "c3"], line)


@pytest.mark.parametrize(
    ("at", "recorded"),
    [
        ([], []),
        (["b2"], ["a1", "b2"]),
        (["c3"], []),
        (["c3"], ["a1", "c3"]),
        (["d4"], ["a1", "b2", "c3", "d4"]),
        (["c3", "x9"], ["a1", "b2", "c3", "x9"]),
    ],
)
def test_in_all_other_places_it_may_lack_something(
    line: Path, at: list[str], recorded: list[str]
) -> None:
    assert not are_applied(at, recorded, line)


@pytest.mark.parametrize(
    ("revision", "previous"),
    [
        ("d4", "b2"),  # two successors
        ("d4", "not_here"),
        ("d4", None),  # a second beginning
        ("d4", ("b2", "c3")),
        ("a1", "c3"),  # round and round
    ],
)
def test_revisions_that_are_not_one_line_say_nothing(
    line: Path, revision: str, previous: object
) -> None:
    write(line, revision, previous)

    for at in ("c3", "d4"):
        assert not are_applied([at], ["a1", "b2", "c3", "d4"], line)


def test_a_revision_that_cannot_be_read_says_nothing(line: Path) -> None:
    (line / "d4.py").write_text('revision: str = "d4"\ndown_revision: str = "c3"\n')

    assert not are_applied(["c3"], ["a1", "b2", "c3"], line)
