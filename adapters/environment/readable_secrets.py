"""Finds files of secrets that other users of this host can read."""

import stat
from collections.abc import Iterator
from pathlib import Path

from adapters.environment.sources import merged
from adapters.environment.variables import SECRET_FILES
from application.setting_problems import Problem

_OF_CONTAINERS = "/run/secrets"
"""Where engines mount secrets, in file systems that no other container sees."""


def readable_secrets() -> tuple[Problem, ...]:
    """Return a problem for each file that a variable names and that every user of this host can read."""
    return tuple(
        Problem(variable, f"names {file}, which every user of this host can read")
        for variable, file in _files()
        if _is_readable_by_all(file.expanduser().resolve())
    )


def _files() -> Iterator[tuple[str, Path]]:
    values = merged(None, [])
    for file_variable, variable in SECRET_FILES.items():
        value = values.get(variable)
        if isinstance(value, Path):
            yield file_variable, value
        elif variable.endswith(("_KEY", "_NEXT", "_RETIRED")) and str(value).startswith(("/", "~")):
            yield variable, Path(str(value))  # a key may be the path of its file
    if directory := values.get("PORTICO_KEYS_DIR"):
        yield from (("PORTICO_KEYS_DIR", file) for file in Path(directory).expanduser().glob("*"))


def _is_readable_by_all(file: Path) -> bool:
    """Return whether others may read the file, and enter every directory above it."""
    if file.is_relative_to(_OF_CONTAINERS) or not file.is_file():
        return False
    return bool(file.stat().st_mode & stat.S_IROTH) and all(
        directory.stat().st_mode & stat.S_IXOTH for directory in file.parents
    )
