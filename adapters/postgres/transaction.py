"""How repositories speak to the database: statements to read, statements to write, one commit."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CursorResult, Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.errors import conflict
from domain.errors import PorticoError


class Transaction:
    """A transaction that begins with the first write, so that a read alone takes one round trip.

    This makes no visible difference: with READ COMMITTED, a statement sees what is committed when it starts, in a
    transaction or outside. After an error every other call raises it again; leave the block.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._begun = False
        self._failure: Exception | None = None

    async def read(self, statement: Executable, **parameters: object) -> CursorResult[Any]:
        """Execute a statement that neither changes nor locks anything."""
        return await self._execute(statement, [parameters] if parameters else (), {})

    async def write(
        self,
        statement: Executable,
        rows: Sequence[Mapping[str, object]] = (),
        *,
        conflicts: Mapping[str, PorticoError] | None = None,
    ) -> CursorResult[Any]:
        """Execute a statement that changes or locks rows, once or for each row of parameters.

        Raise the error in `conflicts` that stands for the constraint that breaks.
        """
        if not self._begun:
            if self._connection.in_transaction():
                await self._connection.commit()  # tells SQLAlchemy alone: reads commit themselves
            self._connection = await self._connection.execution_options(
                isolation_level="READ COMMITTED"
            )
            self._begun = True
        return await self._execute(statement, rows, conflicts or {})

    async def commit(self) -> None:
        """Make the writes durable."""
        self._raise_failure()
        if self._begun:
            await self._connection.commit()

    async def _execute(
        self,
        statement: Executable,
        rows: Sequence[Mapping[str, object]],
        conflicts: Mapping[str, PorticoError],
    ) -> CursorResult[Any]:
        self._raise_failure()
        try:
            return await self._connection.execute(statement, rows or None)
        except Exception as error:
            foreseen = conflict(error, conflicts)
            self._failure = foreseen or error
            if foreseen:
                raise foreseen from error
            raise

    def _raise_failure(self) -> None:
        # After an error the server refuses every statement, and answers COMMIT with a rollback,
        # which the driver takes for success.
        if self._failure is not None:
            raise self._failure
