"""The revisions of `migrations/`, read as text. Alembic, which knows all about them, is 8 MB and a tenth of a start."""

import re
from collections.abc import Collection
from pathlib import Path

# Beside the packages, in a checkout as in an installed wheel.
_DIRECTORY = Path(__file__).resolve().parents[2] / "migrations" / "versions"
_REVISION = re.compile(
    r"""^revision = ["'](\w+)["']\n"""
    r"""down_revision = (?:None|["'](\w+)["'])\n"""
    r"""branch_labels = None\n"""
    r"""depends_on = None$""",
    re.MULTILINE,
)


def are_applied(
    at: Collection[str], recorded: Collection[str], directory: Path = _DIRECTORY
) -> bool:
    """Return whether a database is at the last revision and has all before it; False if only alembic can tell.

    `at` is where alembic says that the database is, `recorded` what was applied to it.
    """
    line = _line(directory)
    return bool(line) and {*at} == {line[-1]} and {*line} <= {*recorded}


def _line(directory: Path) -> list[str]:
    """Return the revisions in their order, or none if one cannot be read, or has no predecessor, or two successors."""
    files = [file for file in directory.glob("*.py") if file.name != "__init__.py"]
    successors = {
        previous: revision
        for file in files
        for revision, previous in _REVISION.findall(file.read_text(encoding="utf-8"))
    }
    line = []
    revision = successors.pop("", None)
    while revision is not None:
        line.append(revision)
        revision = successors.pop(revision, None)
    return line if len(line) == len(files) else []
