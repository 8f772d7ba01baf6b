"""`portico reset`: an end of all local data."""

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
"""Everything that Portico puts into its data directory; what else is there is somebody else's."""


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
    console.show("Removed; the next `portico run` begins with nothing")


async def _remove(directory: Path, present: list[Path], *, confirmed: bool) -> None:
    async with locked(directory):
        names = ", ".join(path.name for path in present)
        console.show(f"All local data is to be removed: {names} in {directory}")
        if not confirmed:
            if not sys.stdin.isatty():
                raise Refused("Say --yes if this is meant")
            typer.confirm("Every user, task and file is lost. Go on?", abort=True)
        for path in present:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
