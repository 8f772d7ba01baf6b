"""Makes and rotates the files of `adapters.key_files`, for `portico make-keys`.

After every step a process can start from the directory, even if the next step fails.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from adapters.key_files import NAME_KEY_FILE, active_file, next_file, retired_until
from application.settings import SessionSettings

# 2048 bits sign the tokens, which is what NIST SP 800-57 asks for until 2030; with 3072 every request
# would cost more. A password needs 3072: its ciphertext may be kept for longer than a token lives, and a
# long passphrase with its frame does not fit into fewer.
_BITS = {"access": 2048, "refresh": 2048, "transport": 3072}

_OWNER_ALONE = 0o600

_ROLL_OUT = timedelta(days=1)
"""How long a process that was not restarted may go on using what was the active key."""


def make_keys(
    directory: Path, purposes: Iterable[str] = tuple(_BITS), *, with_next: bool = True
) -> tuple[Path, ...]:
    """Make the keys that are missing: of each purpose the active and the next one; and the secret for names.

    Return the new files.

    The directory is made too, for its owner alone. Any number of processes may do this at once; they end
    with the same keys. Raise `OSError` if the directory cannot be written.
    """
    names = (active_file, next_file) if with_next else (active_file,)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = []
    with _locked(directory):
        for purpose in purposes:
            for path in (directory / name(purpose) for name in names):
                if not path.exists():
                    _write(path, _new_key(purpose))
                    made.append(path)
        made += _missing_name_key(directory)
    return tuple(made)


def rotate_keys(directory: Path, settings: SessionSettings, now: datetime) -> tuple[Path, ...]:
    """Retire the active keys, put the next ones in their place, make new next ones. Return the changed files.

    No user is logged out, provided that every process was restarted since the last rotation and so
    knows the next key. A purpose without a next key is only given one, for the same reason. The new files have the
    permissions of the active key. Retired keys whose tokens have all expired are deleted. Raise `OSError` if the
    directory is missing or cannot be written.
    """
    lifetimes = {
        "access": settings.access_lifetime,
        "refresh": settings.refresh_idle,
        "transport": settings.ciphertext_window,
    }
    changed = []
    with _locked(directory):
        for purpose, lifetime in lifetimes.items():
            _prune(directory, purpose, now)
            active, following = (directory / f(purpose) for f in (active_file, next_file))
            mode = stat.S_IMODE(active.stat().st_mode) if active.exists() else _OWNER_ALONE
            if active.exists() and following.exists():
                # A copy first, and the rename last: at every moment the old key and the new one
                # are both there for who reads `next`, `active` and `retired` in this order.
                retired = _unused(directory, purpose, now + lifetime + _ROLL_OUT)
                _write(retired, active.read_bytes(), mode)
                following.replace(active)
                changed += [retired, active]
            for path in (active, following):
                if not path.exists():
                    _write(path, _new_key(purpose), mode)
                    changed.append(path)
        changed += _missing_name_key(directory)
    return tuple(changed)


def _missing_name_key(directory: Path) -> Iterator[Path]:
    path = directory / NAME_KEY_FILE
    if not path.exists():
        _write(path, secrets.token_urlsafe(32).encode())
        yield path


def _unused(directory: Path, purpose: str, until: datetime) -> Path:
    seconds = int(until.timestamp())
    while (path := directory / f"{purpose}.retired-{seconds}.pem").exists():
        seconds += 1
    return path


def _prune(directory: Path, purpose: str, now: datetime) -> None:
    for path in directory.iterdir():
        until = retired_until(purpose, path.name)
        if until is not None and until <= now.timestamp():
            path.unlink()


def _new_key(purpose: str) -> bytes:
    # Inside, because processes that make no key do not load them.
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - see above

    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS[purpose])
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes, mode: int = _OWNER_ALONE) -> None:
    """Make a file that is never seen half written."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)  # of a process that died; we hold the lock
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ALONE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    draft.rename(path)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other processes from writing into the directory meanwhile."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
