"""How PostgreSQL is set up, as far as Portico depends on it."""

from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect
from application.ports.health import Inspection, Remark, clock_remark
from application.ports.system import Clock


class PostgresInspection(Inspection):
    """Asks for the time."""

    name = "postgres"

    def __init__(self, engine: AsyncEngine, clock: Clock, leeway: timedelta) -> None:
        self._engine = engine
        self._clock = clock
        self._leeway = leeway

    async def remarks(self) -> Sequence[Remark]:
        async with aclosing(await connect(self._engine)) as connection:
            before = self._clock.now()
            there: datetime = (
                await connection.execute(select(func.clock_timestamp()))
            ).scalar_one()
            now = before + (self._clock.now() - before) / 2
        difference = (there - now).total_seconds()
        return (clock_remark(difference, tolerated=self._leeway.total_seconds()),)
