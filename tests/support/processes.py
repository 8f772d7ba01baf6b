"""Processes, everything that they have started, and waiting for all of it to end."""

from collections.abc import Iterable
from contextlib import suppress

import psutil


def family_of(*pids: int) -> list[psutil.Process]:
    """Return the processes and all that they and their children have started, as far as it lives."""
    parents = [psutil.Process(pid) for pid in pids]
    return [*parents, *(child for parent in parents for child in parent.children(recursive=True))]


def kill_all(family: Iterable[psutil.Process]) -> None:
    """Kill every one that still lives."""
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def survivors(family: Iterable[psutil.Process], *, within: float) -> list[psutil.Process]:
    """Wait until all have ended; return those that have not after `within` seconds."""
    _, alive = psutil.wait_procs(list(family), timeout=within)
    return [process for process in alive if not _has_ended(process)]


def _has_ended(process: psutil.Process) -> bool:
    # One whose parent was killed may wait in vain for somebody who asks how it ended.
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True
