"""The servers of one run, from the local stack; each contender has a database of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from local_stack.lock import locked
from local_stack.stack import local_stack

_NO_S3 = {
    "PORTICO_S3_URL": "http://127.0.0.1:9",
    "PORTICO_S3_ACCESS_KEY": "unused",
    "PORTICO_S3_SECRET_KEY": "unused-unused",
}


@dataclass(frozen=True, slots=True)
class Servers:
    """A PostgreSQL, a Redis and a document store that nobody else uses."""

    postgres: str
    redis: str
    mongo: str
    s3: Mapping[str, str]
    """The variables that say where it is, and with which keys; of those who do not want one it is nowhere."""

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
async def servers(directory: Path, *, with_s3: bool = False) -> AsyncIterator[Servers]:
    """Start the servers with their data in `directory`, as `make run` does, and stop them in the end."""
    names = {"postgres", "redis", "mongo"} | ({"s3"} if with_s3 else set())
    async with (
        locked(directory) as lock,
        local_stack(directory, lock, start=names) as stack,
    ):
        variables = stack.variables
        yield Servers(
            variables["PORTICO_POSTGRES_URL"],
            variables["PORTICO_REDIS_URL"],
            variables["PORTICO_MONGO_URL"],
            _NO_S3 | {name: url for name, url in variables.items() if "_S3_" in name},
        )
