"""`portico psql`."""

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from application.settings import Stores
from bootstrap import load_settings
from entrypoints.cli.connection import connected
from entrypoints.cli.errors import MemoryNotShared, Refused
from local_stack.errors import WheelMissing
from local_stack.postgres import packaged_program


async def run_psql(arguments: Sequence[str], *, patience: float) -> int:
    """Run psql on the database and return its exit code; raise `Refused` if there is no psql."""
    if load_settings().stores is Stores.MEMORY:
        raise MemoryNotShared
    program = _psql()
    # Ctrl-C is for psql: it ends a statement there, not psql.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    async with connected(patience=patience) as container:
        address = urlsplit(container.settings().postgres.url or "")
        # Other users can see a command line, so the password is not on it.
        user, _, host = address.netloc.rpartition("@")
        name, _, password = user.partition(":")
        shown = address._replace(scheme="postgresql", netloc=f"{name}@{host}" if name else host)
        environment = {**os.environ, **({"PGPASSWORD": unquote(password)} if password else {})}  # noqa: TID251 - handed on
        process = await asyncio.create_subprocess_exec(
            program, "--dbname", urlunsplit(shown), *arguments, env=environment
        )
        return await process.wait()


def _psql() -> Path:
    """Return the installed psql, else that of the local stack's PostgreSQL."""
    if found := shutil.which("psql"):
        return Path(found)
    try:
        return packaged_program("psql")
    except WheelMissing:
        raise Refused(
            "There is no psql here: install PostgreSQL's client (Debian, Ubuntu: apt install postgresql-client), "
            "or the dependency group `local` (`make setup`)"
        ) from None
