"""`Schema` by alembic: brings the database to the newest step of `migrations/`, one process at a time."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.tables import AdvisoryLock
from application.ports.system import Schema
from application.settings import PostgresSettings

_LONGEST_STEP = timedelta(hours=1)
# While a migration waits for a table, everybody who comes later waits behind it.
_PATIENCE_WITH_TABLES = timedelta(seconds=5)


class PostgresSchema(Schema):
    """Works on a connection of its own: migrations take longer than requests may.

    A database that has taken every step of this code, and others besides, comes from a later version of it.
    Migrations expand before they contract, so both versions work with it, and it is left as it is.
    """

    def __init__(
        self, settings: PostgresSettings, *, patience_with_others: timedelta = timedelta(minutes=1)
    ) -> None:
        self._settings = settings
        self._patience_with_others = patience_with_others

    async def upgrade(self) -> None:
        """Take every missing step; raise `Unavailable` if others hold the lock or a table for too long."""
        steps = _steps()
        async with self._connection(statement_timeout=_LONGEST_STEP) as connection:
            await self._lock(connection)
            await connection.run_sync(steps.upgrade)

    async def is_current(self) -> bool:
        steps = _steps()
        async with self._connection() as connection:
            return await connection.run_sync(steps.is_current)

    async def write_migration(self, message: str) -> Path | None:
        """Upgrade, then write the step from the database to `tables`; return None if there is nothing to do."""
        steps = _steps()
        await self.upgrade()
        async with self._connection() as connection:
            script = await connection.run_sync(steps.write_migration, message)
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


def _steps() -> ModuleType:
    # 11 MB that workers and beats, which migrate nothing, should not carry.
    from adapters.postgres import steps  # noqa: PLC0415

    return steps


def _lock_timeout(patience: timedelta) -> TextClause:
    return text(f"SET lock_timeout = {patience / timedelta(milliseconds=1):.0f}")
