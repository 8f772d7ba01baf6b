"""`Probe` of PostgreSQL."""

from contextlib import aclosing

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect
from application.ports.health import Probe


class PostgresProbe(Probe):
    """Asks for nothing, over a connection of the pool that everybody uses."""

    name = "postgres"

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def check(self) -> None:
        async with aclosing(await connect(self._engine)) as connection:
            await connection.execute(select(1))
