"""The lock that allows one running Portico per data directory."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from local_stack.errors import AlreadyRunning, DirectoryUnusable

_LEFTOVERS_END_WITHIN = 30.0


@asynccontextmanager
async def locked(directory: Path) -> AsyncIterator[int]:
    """Own the directory; raise `AlreadyRunning` if another process does, `DirectoryUnusable` if it cannot be locked.

    Yields the descriptor of the lock. Children that inherit it keep the directory owned until the last
    of them has ended, so nothing is started beside what a killed process left behind.
    """
    descriptor = _open(directory)
    try:
        await _acquire(descriptor, directory)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
        os.ftruncate(descriptor, 0)
    finally:
        # Close it, do not unlock it: children may still hold the lock.
        os.close(descriptor)


def owner(directory: Path) -> int | None:
    """Return the pid of the process that owns the directory, or None if no process does."""
    try:
        descriptor = os.open(_lock_file(directory), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _living_pid(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _open(directory: Path) -> int:
    # Other users may enter but not list it, because PostgreSQL may run as another user.
    try:
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        return os.open(_lock_file(directory), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DirectoryUnusable(directory, error.strerror) from None


async def _acquire(descriptor: int, directory: Path) -> None:
    try:
        async with asyncio.timeout(_LEFTOVERS_END_WITHIN):
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if pid := _living_pid(descriptor):
                        raise AlreadyRunning(directory, pid) from None
                    await asyncio.sleep(0.05)  # a lock of flock(2) cannot be awaited
                else:
                    return
    except TimeoutError:
        raise AlreadyRunning(directory, None) from None


def _living_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0)
    if not text.isdigit():
        return None
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return int(text)


def _lock_file(directory: Path) -> Path:
    return directory / "lock"
