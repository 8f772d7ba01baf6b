"""The steps of `migrations/`, and alembic, which takes them. Only `adapters.postgres.schema` loads it, when asked."""

import logging
from argparse import Namespace
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection

_log = logging.getLogger(__name__)

# Beside the packages, in a checkout as in an installed wheel.
_ROOT = Path(__file__).resolve().parents[2]


def upgrade(connection: Connection) -> None:
    """Take every missing step."""
    if _comes_from_a_later_version(connection):
        _log.warning("The database comes from a later version of Portico; it is left as it is")
        return
    command.upgrade(alembic_config(connection), "head")


def is_current(connection: Connection) -> bool:
    """Tell whether every step was taken."""
    wanted = ScriptDirectory.from_config(alembic_config()).get_heads()
    return _steps_taken(connection) == set(wanted) or _comes_from_a_later_version(connection)


def _comes_from_a_later_version(connection: Connection) -> bool:
    known = {
        step.revision for step in ScriptDirectory.from_config(alembic_config()).walk_revisions()
    }
    return not _steps_taken(connection) <= known


def _steps_taken(connection: Connection) -> set[str]:
    with connection.begin():  # and end: in a transaction of ours alembic would not commit
        return set(MigrationContext.configure(connection).get_current_heads())


def write_migration(connection: Connection, message: str) -> Script | None:
    """Write the step from the database to `tables`, unless there is nothing to do."""

    def unless_empty(_context: object, _revision: object, steps: list[MigrationScript]) -> None:
        if all(step.upgrade_ops is None or step.upgrade_ops.is_empty() for step in steps):
            steps.clear()

    script = command.revision(
        alembic_config(connection),
        message,
        autogenerate=True,
        process_revision_directives=unless_empty,
    )
    return script if isinstance(script, Script) else None


def alembic_config(connection: Connection | None = None) -> Config:
    """Return alembic's configuration; `pyproject.toml`, where there is one, adds how new steps are named."""
    config = Config(
        toml_file=_ROOT / "pyproject.toml",
        cmd_opts=Namespace(quiet=True),
        attributes={"connection": connection},
    )
    config.set_main_option("script_location", str(_ROOT / "migrations").replace("%", "%%"))
    return config
