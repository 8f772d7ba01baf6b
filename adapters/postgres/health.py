"""`Probe` of PostgreSQL, and of its schema."""

from collections.abc import Collection
from contextlib import aclosing

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect
from adapters.postgres.pooler import require_sessions
from application.ports.health import Probe
from application.ports.system import Schema
from application.settings import PostgresSettings
from domain.errors import Unavailable


class PostgresProbe(Probe):
    """Sends an empty query over the pool of the requests; the first time, it also looks for a harmful pooler."""

    name = "postgres"
    required = True

    def __init__(self, engine: AsyncEngine, settings: PostgresSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._is_fit = False

    async def check(self) -> None:
        if not self._is_fit:
            await require_sessions(self._settings)
            self._is_fit = True
        async with aclosing(await connect(self._engine)) as connection:
            await connection.execute(select(1))


class SchemaProbe(Probe):
    """Asks where the database is, and compares that with the code when it is somewhere else than before.

    The start of the process has compared the first place: that takes longer than a probe may.
    """

    name = "schema"
    required = True

    def __init__(self, engine: AsyncEngine, schema: Schema) -> None:
        self._engine = engine
        self._schema = schema
        self._current: Collection[str] | None = None

    async def check(self) -> None:
        try:
            async with aclosing(await connect(self._engine)) as connection:
                at = frozenset(await connection.scalars(_AT))
        except Unavailable:
            return  # `PostgresProbe` reports it
        moved = self._current is not None and at != self._current
        if moved and not await self._schema.is_current():
            raise Unavailable("PostgreSQL", reason="migrations are missing")
        self._current = at


_AT = text("SELECT version_num FROM alembic_version")
