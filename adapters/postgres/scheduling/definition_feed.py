"""`DefinitionFeed` in PostgreSQL: changes are found by transaction ids, and announced by NOTIFY."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import listener
from adapters.postgres.errors import unavailable
from adapters.postgres.scheduling import statements
from adapters.postgres.scheduling.queries import execute, read_in_parts
from adapters.postgres.scheduling.rows import to_task
from adapters.postgres.scheduling.tables import SCHEDULING_CHANNEL
from adapters.postgres.scheduling.task_runs import storable_error
from application.ports.definition_feed import Changes, Defined, DefinitionFeed, Mark, Version
from application.settings import PostgresSettings
from domain.scheduling.options import OptionsCheck, unchecked
from domain.scheduling.slots import PeriodicTaskId

_KEEPALIVE = timedelta(seconds=30)
"""A connection without notifications for this long is tested whether it still works."""
_LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class PostgresDefinitionFeed(DefinitionFeed):
    """Reads over the pool, and listens over one more connection."""

    def __init__(
        self,
        engine: AsyncEngine,
        settings: PostgresSettings,
        *,
        check_options: OptionsCheck = unchecked,
        keepalive: timedelta = _KEEPALIVE,
    ) -> None:
        self._engine = engine
        self._check_options = check_options
        self._settings = settings
        self._keepalive = keepalive
        self._listener: asyncpg.Connection[Any] | None = None
        self._notified = asyncio.Event()

    async def load(self) -> Changes:
        return await self._changes(statements.LOAD)

    async def changes(self, since: Mark) -> Changes:
        return await self._changes(statements.CHANGES, since=since)

    async def versions(self) -> Mapping[PeriodicTaskId, Version]:
        return {
            task_id: version
            async for part in read_in_parts(self._engine, statements.VERSIONS)
            for task_id, version in part
        }

    async def read(self, ids: Collection[PeriodicTaskId]) -> Sequence[Defined]:
        return [
            Defined(task=to_task(row, self._check_options), version=version)
            async for part in read_in_parts(self._engine, statements.READ, ids=[*ids])
            for version, *row in part
        ]

    async def record_problems(self, problems: Mapping[PeriodicTaskId, str | None]) -> None:
        await execute(
            self._engine,
            statements.RECORD_PROBLEMS,
            ids=[*problems],
            problems=[words and storable_error(words) for words in problems.values()],
        )

    async def recorded_problems(self) -> Mapping[PeriodicTaskId, str]:
        return {
            row.task_id: row.problem
            for row in await execute(self._engine, statements.RECORDED_PROBLEMS)
        }

    async def changed(self) -> None:
        try:
            connection = await self._listen()
            while not await self._is_notified():
                await connection.execute("SELECT")
            self._notified.clear()
        except _LOST as error:
            self._stop_listening()
            raise unavailable(error) from error
        except BaseException:
            self._stop_listening()
            raise

    async def aclose(self) -> None:
        """Stop listening."""
        self._stop_listening()
        await asyncio.sleep(0)  # the socket closes in the next iteration of the loop

    async def _changes(self, statement: TextClause, **values: object) -> Changes:
        defined: list[Defined] = []
        deleted: list[PeriodicTaskId] = []
        mark = 0
        async for part in read_in_parts(self._engine, statement, **values):
            for mark, is_deleted, version, *row in part:  # noqa: B007 - it is the same in every row
                if is_deleted:
                    deleted.append(row[0])
                elif version is not None:  # if nothing has changed, the mark comes alone
                    task = to_task(row, self._check_options)
                    defined.append(Defined(task=task, version=version))
        return Changes(defined=defined, deleted=deleted, mark=Mark(mark))

    async def _listen(self) -> "asyncpg.Connection[Any]":
        if self._listener is None or self._listener.is_closed():
            self._listener = await listener(self._settings)
            self._listener.add_termination_listener(self._notify)
            await self._listener.add_listener(SCHEDULING_CHANNEL, self._notify)
            # Definitions may have changed before we listened.
            self._notified.set()
        return self._listener

    async def _is_notified(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._keepalive.total_seconds()):
                return await self._notified.wait()
        return False

    def _notify(self, *_: object) -> None:
        self._notified.set()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.terminate()
            self._listener = None
