"""Runs alembic on `migrations/`. Only `adapters.postgres.schema` imports it, and only when it is needed."""

import logging
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, select

from adapters.postgres.tables import applied_migrations
from application.ports.system import MigrationsRefused

_log = logging.getLogger(__name__)

# Beside the packages, in a checkout as in an installed wheel.
_ROOT = Path(__file__).resolve().parents[2]


class DatabaseVersion(Enum):
    """The version of the schema of a database, compared with this code."""

    BEHIND = auto()
    CURRENT = auto()
    LATER = auto()
    """It has every revision of this code, and newer ones."""


def upgrade(connection: Connection) -> None:
    """Apply every missing revision; raise `MigrationsRefused`."""
    if database_version(connection) is DatabaseVersion.LATER:
        _log.warning("The database comes from a later version of Portico; it is left as it is")
        return
    with _refusals():
        command.upgrade(alembic_config(connection), "head")


def is_current(connection: Connection) -> bool:
    """Return whether every revision is applied; raise `MigrationsRefused`."""
    return database_version(connection) is not DatabaseVersion.BEHIND


def database_version(connection: Connection) -> DatabaseVersion:
    """Compare the database with this code; raise `MigrationsRefused` if their histories differ."""
    with _refusals():
        scripts, heads = _history()
        known = {script.revision for script in scripts.walk_revisions()}
        current, applied = _revisions(connection)
        if unknown := current - known:
            # A database without records of its revisions may lack some of ours. Refuse it: otherwise requests
            # would fail one by one on missing tables.
            if missing := known - applied if applied else heads:
                raise MigrationsRefused(
                    f"The database is at migration {_names(unknown)}, which this code does not know, and lacks "
                    f"{_names(missing)}, which it needs. It belongs to another branch or version: use that code, or "
                    f"another database"
                )
            return DatabaseVersion.LATER
        before = (
            {script.revision for script in scripts.iterate_revisions(tuple(current), "base")}
            if current
            else set()
        )
        if applied and (missing := before - applied):
            raise MigrationsRefused(
                f"The database is at migration {_names(current)} and lacks {_names(missing)}, which comes before it in "
                f"this code. Their order was changed: use the code that the database belongs to, or another database"
            )
        return DatabaseVersion.CURRENT if current == heads else DatabaseVersion.BEHIND


def _history() -> tuple[ScriptDirectory, set[str]]:
    """Return the revisions of this code, and its heads."""
    scripts = ScriptDirectory.from_config(alembic_config())
    try:
        return scripts, set(scripts.get_heads())
    except KeyError as error:  # alembic's own, for a revision whose predecessor does not exist
        raise CommandError(f"{error} is not among them, and another one follows it") from error


def _revisions(connection: Connection) -> tuple[set[str], set[str]]:
    """Return the current heads of the database, and every revision that is recorded as applied."""
    with connection.begin():  # and end: in a transaction of ours alembic would not commit
        current = set(MigrationContext.configure(connection).get_current_heads())
        if not inspect(connection).has_table(applied_migrations.name):
            return current, set()
        return current, set(connection.scalars(select(applied_migrations.c.revision)))


def write_migration(connection: Connection, message: str) -> Script | None:
    """Write a revision for the difference between the database and `tables`, if any; raise `MigrationsRefused`."""

    def unless_empty(_context: object, _revision: object, scripts: list[MigrationScript]) -> None:
        if all(script.upgrade_ops is None or script.upgrade_ops.is_empty() for script in scripts):
            scripts.clear()

    if database_version(connection) is DatabaseVersion.LATER:
        raise MigrationsRefused(
            "The database comes from a later version of Portico, so nothing can be written from it: use another one"
        )
    with _refusals():
        script = command.revision(
            alembic_config(connection),
            message,
            autogenerate=True,
            process_revision_directives=unless_empty,
        )
    return script if isinstance(script, Script) else None


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise `MigrationsRefused` for errors of alembic: two heads, a revision whose predecessor does not exist."""
    try:
        yield
    except CommandError as error:
        raise MigrationsRefused(f"The migrations cannot be used: {error}") from error


def _names(revisions: set[str]) -> str:
    return ", ".join(sorted(revisions))


def alembic_config(connection: Connection | None = None) -> Config:
    """Return alembic's configuration; `pyproject.toml`, if it exists, adds the file names of new revisions."""
    config = Config(
        toml_file=_ROOT / "pyproject.toml",
        cmd_opts=Namespace(quiet=True),
        attributes={"connection": connection},
    )
    config.set_main_option("script_location", str(_ROOT / "migrations").replace("%", "%%"))
    return config
