"""The steps of `migrations/`, and alembic, which takes them. Only `adapters.postgres.schema` loads it, when asked."""

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


class Standing(Enum):
    """Where a database is, compared with this code."""

    BEHIND = auto()
    CURRENT = auto()
    LATER = auto()
    """It has every step of this code and goes on from there."""


def upgrade(connection: Connection) -> None:
    """Take every missing step; raise `MigrationsRefused`."""
    if standing(connection) is Standing.LATER:
        _log.warning("The database comes from a later version of Portico; it is left as it is")
        return
    with _refusals():
        command.upgrade(alembic_config(connection), "head")


def is_current(connection: Connection) -> bool:
    """Tell whether every step was taken; raise `MigrationsRefused`."""
    return standing(connection) is not Standing.BEHIND


def standing(connection: Connection) -> Standing:
    """Return where the database is; raise `MigrationsRefused` if it has gone another way than this code."""
    with _refusals():
        steps, heads = _history()
        known = {step.revision for step in steps.walk_revisions()}
        at, taken = _steps_taken(connection)
        if unknown := at - known:
            # Without a record nobody can tell, and a database that lacks something must not be taken for one that does
            # not: its tables would be found missing one by one.
            if missing := known - taken if taken else heads:
                raise MigrationsRefused(
                    f"The database is at migration {_names(unknown)}, which this code does not know, and lacks "
                    f"{_names(missing)}, which it needs. It belongs to another branch or version: use that code, or "
                    f"another database"
                )
            return Standing.LATER
        before = (
            {step.revision for step in steps.iterate_revisions(tuple(at), "base")} if at else set()
        )
        if taken and (missing := before - taken):
            raise MigrationsRefused(
                f"The database is at migration {_names(at)} and lacks {_names(missing)}, which comes before it in "
                f"this code. Their order was changed: use the code that the database belongs to, or another database"
            )
        return Standing.CURRENT if at == heads else Standing.BEHIND


def _history() -> tuple[ScriptDirectory, set[str]]:
    """Return the steps of this code, and those that no other one follows."""
    steps = ScriptDirectory.from_config(alembic_config())
    try:
        return steps, set(steps.get_heads())
    except KeyError as error:  # alembic's own, when a step follows one that is not there
        raise CommandError(f"{error} is not among them, and another one follows it") from error


def _steps_taken(connection: Connection) -> tuple[set[str], set[str]]:
    """Return where the database is, and every step that is noted as taken."""
    with connection.begin():  # and end: in a transaction of ours alembic would not commit
        at = set(MigrationContext.configure(connection).get_current_heads())
        if not inspect(connection).has_table(applied_migrations.name):
            return at, set()
        return at, set(connection.scalars(select(applied_migrations.c.revision)))


def write_migration(connection: Connection, message: str) -> Script | None:
    """Write the step from the database to `tables`, unless there is nothing to do; raise `MigrationsRefused`."""

    def unless_empty(_context: object, _revision: object, steps: list[MigrationScript]) -> None:
        if all(step.upgrade_ops is None or step.upgrade_ops.is_empty() for step in steps):
            steps.clear()

    if standing(connection) is Standing.LATER:
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
    """Raise `MigrationsRefused` for what alembic refuses: two heads, a step whose predecessor is not there."""
    try:
        yield
    except CommandError as error:
        raise MigrationsRefused(f"The migrations cannot be used: {error}") from error


def _names(revisions: set[str]) -> str:
    return ", ".join(sorted(revisions))


def alembic_config(connection: Connection | None = None) -> Config:
    """Return alembic's configuration; `pyproject.toml`, where there is one, adds how new steps are named."""
    config = Config(
        toml_file=_ROOT / "pyproject.toml",
        cmd_opts=Namespace(quiet=True),
        attributes={"connection": connection},
    )
    config.set_main_option("script_location", str(_ROOT / "migrations").replace("%", "%%"))
    return config
