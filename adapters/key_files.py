"""The key files of a directory: their names, and how settings read them.

For each purpose there is `<purpose>.active.pem`, `<purpose>.next.pem` and, after a rotation,
`<purpose>.retired-<unix time>.pem`, whose tokens have all expired at that time. `names.key` is a random secret that no
rotation changes. `adapters.security.key_directory` makes and rotates the files.
"""

import re
from datetime import UTC, datetime
from pathlib import Path

from application.settings import KeyRing, KeySettings, RetiredKey

NAME_KEY_FILE = "names.key"

_RETIRED = re.compile(r"([a-z]+)\.retired-([0-9]{1,11})\.pem")


def active_file(purpose: str) -> str:
    """Return the name of the file with the key in use."""
    return f"{purpose}.active.pem"


def next_file(purpose: str) -> str:
    """Return the name of the file with the key that the next rotation puts in use."""
    return f"{purpose}.next.pem"


def retired_until(purpose: str, name: str) -> int | None:
    """Return until when (unix seconds) the key in the file `name` is accepted; None if it is no retired key."""
    match = _RETIRED.fullmatch(name)
    return int(match[2]) if match and match[1] == purpose else None


def read_key_dir(directory: Path) -> KeySettings:
    """Return what is in a directory of key files; a missing file is absent from its ring.

    Raise `OSError` if the directory or a file in it cannot be read.
    """
    return KeySettings(
        access=_read_ring(directory, "access"),
        refresh=_read_ring(directory, "refresh"),
        transport=_read_ring(directory, "transport"),
        names=(_read(directory / NAME_KEY_FILE) or "").strip() or None,
    )


def _read_ring(directory: Path, purpose: str) -> KeyRing:
    # In this order, the key that a concurrent `rotate_keys` activates is among those read.
    following = _read(directory / next_file(purpose))
    active = _read(directory / active_file(purpose))
    retired = []
    for path in sorted(directory.iterdir()):
        until = retired_until(purpose, path.name)
        if until is not None and (pem := _read(path)):
            retired.append(RetiredKey(pem=pem, until_unix=until))
    return KeyRing(
        active=active,
        next=following,
        retired=tuple(retired),
        made_at=_written_at(directory / active_file(purpose)),
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None


def _written_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
