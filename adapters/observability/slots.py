"""Slots: names for the processes that share a directory, so few that each is used again.

prometheus-client keeps the values of each process in files of its own. Under its pid, each process that ever ran would
leave some, and a scrape would read them all. Under a slot, a process goes on with the files of one that has ended, so
nothing that was counted is lost, and there are as many files as processes at once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory


class Slots:
    """The slots of a directory. A process holds one from its first use to its end, by a lock that ends with it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._own: str | None = None
        self._lock = -1
        os.register_at_fork(after_in_child=self._leave_to_parent)

    def own(self) -> str:
        """Return the slot of this process: the lowest number that no living process holds."""
        if self._own is None:
            self._own, self._lock = self._take()
        return self._own

    def remove_gauges_of_dead(self) -> None:
        """Remove what processes that have ended last set: only what they counted still counts."""
        for file in self._directory.glob("*.lock"):
            with suppress(BlockingIOError, FileNotFoundError):
                os.close(self._claim(file.stem))

    def remove_files_of_dead(self) -> None:
        """Remove all that processes that have ended left behind."""
        for file in self._directory.glob("*.lock"):
            with suppress(BlockingIOError, FileNotFoundError):
                lock = self._claim(file.stem)
                for left in self._directory.glob(f"*_{file.stem}.db"):
                    left.unlink(missing_ok=True)
                os.close(lock)

    def _take(self) -> tuple[str, int]:
        for number in count():
            with suppress(BlockingIOError):
                return str(number), self._claim(str(number))
        raise AssertionError  # numbers do not end

    def _claim(self, slot: str) -> int:
        """Lock a slot that no living process holds, and return the lock; raise `BlockingIOError`."""
        lock = os.open(self._directory / f"{slot}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise
        for file in self._directory.glob(f"gauge_live*_{slot}.db"):
            file.unlink(missing_ok=True)
        return lock

    def _leave_to_parent(self) -> None:
        if self._own is not None:
            os.close(self._lock)  # to unlock it would take it from the parent
            self._own = None


@contextmanager
def shared_directory(parent: Path | None, role: str) -> Iterator[Path]:
    """Yield the directory in which the processes of a role share their metrics: that in `parent`, or a temporary one.

    What processes have left there that have ended is removed, so counters begin at zero with the first process.
    """
    if parent is None:
        with TemporaryDirectory(prefix=f"portico-{role}-metrics-") as temporary:
            yield Path(temporary)
        return
    directory = parent / role
    Slots(directory).remove_files_of_dead()
    yield directory
