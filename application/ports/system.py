"""Clock, ids and secrets of the machine, and the schema of the store."""

from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from domain.errors import Conflict


class MigrationsRefused(Conflict):
    """The store has gone another way than this code, or the code's migrations contradict each other."""

    code = "platform.migrations_refused"


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...


class IdGenerator(Protocol):
    """Fresh ids."""

    def new(self) -> UUID:
        """Return a new UUID (version 7); later ones sort after earlier ones."""
        ...


class Secrets(Protocol):
    """Makes secrets that cannot be guessed."""

    def one_time_password(self) -> str:
        """Return a password of at least 96 bits that is easy to read aloud."""
        ...


class Schema(Protocol):
    """The shape of the relational store."""

    async def upgrade(self) -> None:
        """Bring the store to the newest schema; any number of processes may do so at once.

        Raise `MigrationsRefused`.
        """
        ...

    async def is_current(self) -> bool:
        """Return whether the store has the newest schema; raise `MigrationsRefused` if it never can have it."""
        ...

    async def write_migration(self, message: str) -> Path | None:
        """Write a migration from the store to the tables of this code; return its file, or None if they are equal."""
        ...
