"""`portico make-keys` and `portico make-secrets`."""

from pathlib import Path

import bootstrap
from application.settings import KeySettings
from bootstrap import Container
from entrypoints.cli import console
from entrypoints.cli.errors import Refused


def make(directory: Path, *, rotate: bool, json: bool) -> None:
    """Make the keys that are missing, or rotate those that are there; raise `Refused` if it cannot."""
    try:
        if rotate:
            # Without reading PORTICO_KEYS_DIR: it may not exist yet, or be this directory.
            sessions = bootstrap.load_settings(keys_dir=KeySettings()).sessions
            files = bootstrap.rotate_keys(directory, sessions, Container.clock().now())
        else:
            files = bootstrap.make_keys(directory)
    except OSError as error:
        raise Refused(f"{directory} cannot hold keys: {error.strerror}") from None
    if json:
        console.show_json({"files": [str(file) for file in files]})
    for file in () if json else files:
        console.show(f"Wrote {file}")
    if not files and not json:
        console.show(f"{directory} has every key already; --rotate activates the next ones")
    if rotate:
        console.say("Restart every process now, so that all of them know the new keys")


def make_secrets(directory: Path, *, json: bool) -> None:
    """Make the secrets of `compose.yaml`; raise `Refused` if it cannot, or if there are some already."""
    try:
        files = bootstrap.make_secrets(directory)
    except FileExistsError:
        raise Refused(f"{directory} is not empty, and secrets are never overwritten") from None
    except OSError as error:
        raise Refused(f"{directory} cannot hold secrets: {error.strerror}") from None
    if json:
        console.show_json({"files": [str(file) for file in files]})
    for file in () if json else files:
        console.show(f"Wrote {file}")
