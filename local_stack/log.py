"""The log file of one server."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

_LIMIT = 10 * 1024 * 1024
_TAIL = 20


@dataclass(slots=True)
class Log:
    """A file that grows; `tail` shows only what was written since this object was created."""

    path: Path
    _start: int = field(init=False)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            if self.path.stat().st_size > _LIMIT:
                self.path.replace(self.path.with_suffix(".log.1"))
        self.path.touch(mode=0o600)
        self._start = self.path.stat().st_size

    def opened(self) -> BinaryIO:
        """Open it for appending."""
        return self.path.open("ab")

    def since(self, position: int) -> str:
        """Return what was written after this many bytes."""
        with self.path.open("rb") as file:
            file.seek(position)
            return file.read().decode(errors="replace")

    def tail(self) -> str:
        """Return the last lines."""
        return "\n".join(self.since(self._start).splitlines()[-_TAIL:])
