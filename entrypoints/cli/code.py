"""Watches the code of the project for changes."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import bootstrap

ROOT = Path(bootstrap.__file__).parent

_EVERY = 0.5
_NOT_CODE = frozenset({"build", "dist", "docs", "node_modules", "site-packages", "tests"})


def is_checkout() -> bool:
    """Return whether this is a checkout, not an installed package."""
    return (ROOT / "pyproject.toml").is_file()


class Code:
    """The Python and Lua files below a directory, and its `.env` files.

    Hidden folders are ignored: they hold data, virtual environments and caches.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._change: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def change(self) -> "asyncio.Future[str]":
        """The next change: done, with the name of what has changed, once it has come."""
        return self._change

    async def watch(self) -> None:
        """Poll the files; report a change once two polls in a row find the same."""
        known = await asyncio.to_thread(self._snapshot)
        reported = known
        while True:
            await asyncio.sleep(_EVERY)
            seen = await asyncio.to_thread(self._snapshot)
            if seen == known and seen != reported:
                changed = {file for file, _ in seen.items() ^ reported.items()}
                reported = seen
                self.report(min(changed))
            known = seen

    def report(self, changed: str) -> None:
        """Say what has changed to everybody who waits for a change."""
        change, self._change = self._change, asyncio.get_running_loop().create_future()
        change.set_result(changed)

    def _snapshot(self) -> Mapping[str, int]:
        seen: dict[str, int] = {}
        for folder, folders, files in os.walk(self._root):
            folders[:] = {f for f in folders if not f.startswith((".", "__"))} - _NOT_CODE
            for name in files:
                is_setting = name.startswith(".env") and folder == str(self._root)
                if is_setting or name.endswith((".py", ".lua")):
                    with suppress(FileNotFoundError):  # gone since
                        path = Path(folder, name)
                        seen[str(path.relative_to(self._root))] = path.stat().st_mtime_ns
        return seen
