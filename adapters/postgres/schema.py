"""`Schema` by alembic: upgrades the database to the newest revision of `migrations/`, one process at a time."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.revisions import are_applied
from adapters.postgres.tables import AdvisoryLock
from application.ports.system import Schema
from application.settings import PostgresSettings

_LONGEST_REVISION = timedelta(hours=1)
# While a migration waits for the lock on a table, every later query on that table waits behind it.
_PATIENCE_WITH_TABLES = timedelta(seconds=5)


class PostgresSchema(Schema):
    """Uses its own connection: migrations may take longer than requests.

    A database with every revision of this code and more belongs to a later version. Migrations expand
    before they contract, so this version works with it too, and changes nothing.
    """

    def __init__(
        self, settings: PostgresSettings, *, patience_with_others: timedelta = timedelta(minutes=1)
    ) -> None:
        self._settings = settings
        self._patience_with_others = patience_with_others

    async def upgrade(self) -> None:
        """Apply every missing revision; raise `Unavailable` if others hold the lock or a table for too long."""
        migrations = _migrations()
        async with self._connection(statement_timeout=_LONGEST_REVISION) as connection:
            await self._lock(connection)
            await connection.run_sync(migrations.upgrade)

    async def is_current(self) -> bool:
        async with self._connection() as connection:
            if await _is_at_the_last(connection):
                return True
            return await connection.run_sync(_migrations().is_current)

    async def write_migration(self, message: str) -> Path | None:
        """Upgrade, then write a revision for the difference from the tables; return None if there is none."""
        migrations = _migrations()
        await self.upgrade()
        async with self._connection() as connection:
            script = await connection.run_sync(migrations.write_migration, message)
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
        """Exclude other migrations until the connection is closed: some revisions end the transaction midway."""
        await connection.execute(_lock_timeout(self._patience_with_others))
        await connection.execute(select(func.pg_advisory_lock(AdvisoryLock.MIGRATIONS)))
        await connection.execute(_lock_timeout(_PATIENCE_WITH_TABLES))
        await connection.commit()


async def _is_at_the_last(connection: AsyncConnection) -> bool:
    """Return whether the last revision and all before it are applied; if not, alembic says what that means."""
    async with connection.begin():
        if not await connection.scalar(_HAS_HISTORY):
            return False
        at, recorded = (await connection.execute(_HISTORY)).one()
    return are_applied(at, recorded)


_HAS_HISTORY = text(
    "SELECT to_regclass('alembic_version') IS NOT NULL AND to_regclass('applied_migrations') IS NOT NULL"
)
_HISTORY = text(
    "SELECT ARRAY(SELECT version_num FROM alembic_version), ARRAY(SELECT revision FROM applied_migrations)"
)


def _migrations() -> ModuleType:
    # 8 MB that a process which never migrates should not load.
    from adapters.postgres import migrations  # noqa: PLC0415

    return migrations


def _lock_timeout(patience: timedelta) -> TextClause:
    return text(f"SET lock_timeout = {patience / timedelta(milliseconds=1):.0f}")
