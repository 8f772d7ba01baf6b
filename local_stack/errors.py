"""Errors of the local stack."""

import sys
from collections.abc import Mapping
from pathlib import Path


class LocalStackError(Exception):
    """The user can solve the problem; the text says how."""


class AlreadyRunning(LocalStackError):
    """Another process uses the data directory."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        super().__init__(
            f"Portico is already running in {directory} (pid {pid}). "
            "Stop it first, or set PORTICO_DATA_DIR to another directory"
            if pid
            else f"Servers of a killed Portico in {directory} are still running; try again in a moment"
        )
        self.directory = directory
        self.pid = pid


class DirectoryUnusable(LocalStackError):
    """Nothing can be written to the data directory."""

    def __init__(self, directory: Path, why: str | None) -> None:
        super().__init__(
            f"{directory} cannot hold data: {why}. "
            "Make it a directory of your own, or set PORTICO_DATA_DIR to another one"
        )
        self.directory = directory


class StateUnreadable(LocalStackError):
    """The state of an earlier start is damaged, or of another version."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged, or of another version. Restore it, or delete all local data with `make reset`"
        )
        self.path = path


class ServerFailed(LocalStackError):
    """A server could not start or has died; `log` holds its last lines."""

    def __init__(self, name: str, what: str, log: str) -> None:
        super().__init__(f"{name} {what}\n{log}".rstrip())
        self.name = name
        self.what = what
        self.log = log


class WheelMissing(LocalStackError):
    """A server's package is not installed here."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"The package {package} is not installed; it contains the server. "
            f"{_remedy(package, sys.version_info[:2])}"
        )
        self.package = package


_ONLY_BEFORE: Mapping[str, tuple[tuple[int, int], str]] = {
    "secantusdb": ((3, 14), "PORTICO_MONGO_URL")
}
"""By package: the first Python without a wheel, and the setting that names a server instead."""


def has_no_wheel_here(package: str) -> bool:
    """Tell whether this Python is too new for a package."""
    first_without, _ = _ONLY_BEFORE.get(package, (None, ""))
    return first_without is not None and sys.version_info[:2] >= first_without


def _remedy(package: str, python: tuple[int, ...]) -> str:
    first_without, variable = _ONLY_BEFORE.get(package, (None, ""))
    if first_without is not None and python >= first_without:
        return (
            f"It has no wheel for Python {python[0]}.{python[1]}: set {variable} to your own server, "
            "use an older Python (make run PYTHON=python3.13), or run in memory (PORTICO_STORES=memory)"
        )
    return "Install the dependency group `local` (`make setup`), or configure the server's URL"
