"""`Schema` by alembic: brings the database to the newest step of `migrations/`, one process at a time."""

import logging
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, TextClause, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.tables import AdvisoryLock
from application.ports.system import Schema
from application.settings import PostgresSettings

_log = logging.getLogger(__name__)

# Beside the packages, in a checkout as in an installed wheel.
_ROOT = Path(__file__).resolve().parents[2]

_LONGEST_STEP = timedelta(hours=1)
# While a migration waits for a table, everybody who comes later waits behind it.
_PATIENCE_WITH_TABLES = timedelta(seconds=5)


class PostgresSchema(Schema):
    """Works on a connection of its own: migrations take longer than requests may.

    A step that this code does not know comes from a later version of it. Migrations expand before they
    contract, so both versions work with it, and it is left as it is.
    """

    def __init__(
        self, settings: PostgresSettings, *, patience_with_others: timedelta = timedelta(minutes=1)
    ) -> None:
        self._settings = settings
        self._patience_with_others = patience_with_others

    async def upgrade(self) -> None:
        """Take every missing step; raise `Unavailable` if others hold the lock or a table for too long."""
        async with self._connection(statement_timeout=_LONGEST_STEP) as connection:
            await self._lock(connection)
            await connection.run_sync(_upgrade)

    async def is_current(self) -> bool:
        async with self._connection() as connection:
            return await connection.run_sync(_is_current)

    async def write_migration(self, message: str) -> Path | None:
        """Upgrade, then write the step from the database to `tables`; return None if there is nothing to do."""
        await self.upgrade()
        async with self._connection() as connection:
            script = await connection.run_sync(_write_migration, message)
        return Path(script.path) if script else None

    @asynccontextmanager
    async def _connection(
        self, statement_timeout: timedelta | None = None
    ) -> AsyncIterator[AsyncConnection]:
        engine = postgres_engine(self._settings, statement_timeout=statement_timeout)
        try:
            async with aclosing(await connect(engine)) as connection:
                yield await connection.execution_options(isolation_level="READ COMMITTED")
        finally:
            await engine.dispose()

    async def _lock(self, connection: AsyncConnection) -> None:
        """Exclude other migrations until the connection is closed: some steps end the transaction on the way."""
        await connection.execute(_lock_timeout(self._patience_with_others))
        await connection.execute(select(func.pg_advisory_lock(AdvisoryLock.MIGRATIONS)))
        await connection.execute(_lock_timeout(_PATIENCE_WITH_TABLES))
        await connection.commit()


def _upgrade(connection: Connection) -> None:
    if _comes_from_a_later_version(connection):
        _log.warning("The database comes from a later version of Portico; it is left as it is")
        return
    command.upgrade(alembic_config(connection), "head")


def _is_current(connection: Connection) -> bool:
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


def _write_migration(connection: Connection, message: str) -> Script | None:
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


def _lock_timeout(patience: timedelta) -> TextClause:
    return text(f"SET lock_timeout = {patience / timedelta(milliseconds=1):.0f}")


def alembic_config(connection: Connection | None = None) -> Config:
    """Return alembic's configuration; `pyproject.toml`, where there is one, adds how new steps are named."""
    config = Config(
        toml_file=_ROOT / "pyproject.toml",
        cmd_opts=Namespace(quiet=True),
        attributes={"connection": connection},
    )
    config.set_main_option("script_location", str(_ROOT / "migrations").replace("%", "%%"))
    return config
