"""The servers of one run, from the local stack; each contender has a database of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from local_stack.lock import locked
from local_stack.stack import local_stack


@dataclass(frozen=True, slots=True)
class Servers:
    """A PostgreSQL, a Redis and a document store that nobody else uses."""

    postgres: str
    redis: str
    mongo: str

    async def new_database(self, name: str) -> str:
        """Return the address of an empty database."""
        connection = await asyncpg.connect(self.postgres)
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()
        return urlunsplit(urlsplit(self.postgres)._replace(path=f"/{name}"))

    def redis_database(self, number: int) -> str:
        """Return the address of one of the databases of Redis."""
        return urlunsplit(urlsplit(self.redis)._replace(path=f"/{number}"))


@asynccontextmanager
async def servers(directory: Path) -> AsyncIterator[Servers]:
    """Start the servers with their data in `directory`, as `make run` does, and stop them in the end."""
    async with (
        locked(directory) as lock,
        local_stack(directory, lock, start={"postgres", "redis", "mongo"}) as stack,
    ):
        variables = stack.variables
        yield Servers(
            variables["PORTICO_POSTGRES_URL"],
            variables["PORTICO_REDIS_URL"],
            variables["PORTICO_MONGO_URL"],
        )
