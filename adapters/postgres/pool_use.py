"""How much of the pool of connections is in use."""

from typing import cast

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from application.metrics import POOL_CONNECTIONS
from application.ports.metrics import Metrics


class PostgresPoolUse:
    """Sets the gauges of a pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._pool = cast("QueuePool", engine.pool)

    def __call__(self, metrics: Metrics) -> None:
        metrics.set(POOL_CONNECTIONS, self._pool.checkedout(), "postgres", "in_use")
        metrics.set(POOL_CONNECTIONS, self._pool.checkedin(), "postgres", "idle")
