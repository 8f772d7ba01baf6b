"""Heartbeats: files that running workers and beats touch, so that it costs next to nothing to ask whether they live.

Only the standard library: `portico worker --check` is asked every few seconds, and loads nothing else.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

EVERY = 2.0
"""Seconds between two heartbeats, about."""
_FRESH_FOR = 10.0
"""Seconds for which one counts."""


class Heartbeat:
    """The heartbeat of this process under a name of its own on this host.

    A data directory that cannot be written is no failure: without a heartbeat, a check asks the process itself.
    """

    def __init__(self, data_dir: Path, name: str) -> None:
        self._file = _folder(data_dir) / f"{_safe(name)}.{os.uname().nodename}.{os.getpid()}"

    def beat(self, **facts: object) -> None:
        """Say that this process does its work, and what it says of itself."""
        unfinished = self._file.with_name(f".{self._file.name}")
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(facts))
            unfinished.replace(self._file)

    def end(self) -> None:
        """Say nothing more."""
        with suppress(OSError):
            self._file.unlink()


def heartbeats(data_dir: Path, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the pids of living processes of that name on this host, each with what it said a moment ago."""
    for file in _folder(data_dir).glob(f"{_safe(name)}.{os.uname().nodename}.*"):
        pid = int(file.suffix[1:])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(OSError):
                file.unlink()  # of one that was killed
            continue
        except PermissionError:
            pass
        with suppress(OSError, ValueError):
            if abs(time.time() - file.stat().st_mtime) < _FRESH_FOR:
                yield pid, json.loads(file.read_text())


def _folder(data_dir: Path) -> Path:
    return data_dir / "heartbeats"


def _safe(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name)
