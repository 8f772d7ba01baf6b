"""`UnitOfWork` on one connection of the pool."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect
from adapters.postgres.scheduling.periodic_tasks import PostgresPeriodicTaskRepository
from adapters.postgres.transaction import Transaction
from adapters.repositories import repositories_in
from application.metrics import POOL_WAIT
from application.ports.metrics import UNMEASURED, Metrics
from application.ports.unit_of_work import UnitOfWork
from domain.errors import Unavailable
from domain.scheduling.options import OptionsCheck, unchecked


class PostgresUnitOfWork(UnitOfWork):
    """A connection from the start of the block to its end, and the repositories that share it."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        check_options: OptionsCheck = unchecked,
        metrics: Metrics = UNMEASURED,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._repositories: Mapping[str, Callable[[Transaction], object]] = {
            **repositories_in("adapters.postgres"),
            "periodic_tasks": partial(PostgresPeriodicTaskRepository, check_options=check_options),
        }

    async def __aenter__(self) -> Self:
        asked = time.perf_counter()
        try:
            self._connection = await connect(self._engine)
        finally:
            self._metrics.observe(POOL_WAIT, time.perf_counter() - asked, "postgres")
        self._transaction = Transaction(self._connection)
        for name, repository in self._repositories.items():
            setattr(self, name, repository(self._transaction))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(Unavailable):  # a connection that is lost has undone everything
            await self._connection.__aexit__(exc_type, exc, traceback)

    async def commit(self) -> None:
        await self._transaction.commit()
