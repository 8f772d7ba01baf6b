"""Statements of the beat, each over a connection of the pool."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect

_MOST_AT_ONCE = 500
"""Rows that are read without giving way to others: some milliseconds."""


async def read_in_parts(
    engine: AsyncEngine, statement: TextClause, **values: object
) -> AsyncIterator[Sequence[Any]]:
    """Yield the rows of one moment, some at a time: there may be a hundred thousand."""
    async with aclosing(await connect(engine)) as connection:
        transaction = await connection.execution_options(isolation_level="READ COMMITTED")
        rows = await transaction.stream(
            statement, values, execution_options={"yield_per": _MOST_AT_ONCE}
        )
        async for part in rows.partitions(_MOST_AT_ONCE):
            yield part


async def execute(
    engine: AsyncEngine, statement: TextClause, **values: object
) -> Sequence[Row[Any]]:
    """Run a statement; return its rows, if it has any."""
    async with aclosing(await connect(engine)) as connection:
        result = await connection.execute(statement, values)
        return result.all() if result.returns_rows else ()
