"""`portico reset`: deletes all local data."""

import asyncio
import shutil
import sys
from pathlib import Path

import typer

import bootstrap
from entrypoints.cli import console
from entrypoints.cli.errors import Refused
from local_stack.lock import locked

_OURS = (
    *(
        "postgres",
        "postgres.unfinished",
        "redis",
        "mongo",
        "mongo.toml",
        "mongo.user",
        "s3",
        "s3.json",
    ),
    *("stack.json", "keys", "logs", "heartbeats", "lock"),
)
"""Everything that Portico writes to its data directory. Other files there are not touched."""


def reset(*, confirmed: bool) -> None:
    """Remove what Portico keeps in the data directory; raise `Refused`, or `AlreadyRunning` while it is in use."""
    settings = bootstrap.load_settings()
    if settings.environment.deployed:
        raise Refused(f"{settings.environment} has no local data; this is for ENVIRONMENT=LOCAL")
    directory = settings.data_dir.resolve()
    present = [directory / name for name in _OURS if (directory / name).exists()]
    if not present:
        console.show(f"There is no data in {directory}")
        return
    asyncio.run(_remove(directory, present, confirmed=confirmed))
    if not any(directory.iterdir()):
        directory.rmdir()
    console.show("Deleted; the next `portico run` starts with an empty database")


async def _remove(directory: Path, present: list[Path], *, confirmed: bool) -> None:
    async with locked(directory):
        names = ", ".join(path.name for path in present)
        console.show(f"This deletes all local data: {names} in {directory}")
        if not confirmed:
            if not sys.stdin.isatty():
                raise Refused("Confirm with --yes")
            typer.confirm("Every user, task and file will be lost. Continue?", abort=True)
        for path in present:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
