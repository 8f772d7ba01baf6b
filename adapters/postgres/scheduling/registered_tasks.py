"""`RegisteredTaskRepository` in the tables `task_workers` and `registered_tasks`: equal workers share rows."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Index,
    Row,
    Table,
    Text,
    delete,
    func,
    not_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.postgres.tables import AdvisoryLock, Key, metadata
from adapters.postgres.transaction import Transaction
from application.ports.registered_tasks import OfferedTask, RegisteredTaskRepository
from domain.scheduling.registered_tasks import Parameter, ParameterKind, RegisteredTask

# Workers of one version offer the same: each says so again and again, and the tasks themselves are there once.
task_workers = Table(
    "task_workers",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("offer", Text, nullable=False),  # a hash of the tasks
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("ix_task_workers_offer", "offer"),
)

registered_tasks = Table(
    "registered_tasks",
    metadata,
    Column("name", Key, primary_key=True),
    Column("offer", Text, primary_key=True),
    Column("description", Text, nullable=False),
    Column("parameters", JSONB, nullable=False),
    Column("accepts_anything", Boolean, nullable=False),
)

_REMEMBERED = timedelta(days=7)

_OFFERS = """
WITH offers AS (
  SELECT offer, bool_or(expires_at > now()) AS is_offered, max(since) AS since FROM task_workers GROUP BY offer
)
SELECT {distinct} name, description, parameters, accepts_anything, is_offered
  FROM registered_tasks JOIN offers USING (offer)
"""
_ALL = text(
    _OFFERS.format(distinct="DISTINCT ON (name)")
    + "ORDER BY name, is_offered DESC, since DESC, offer"
)
_FIND = text(
    _OFFERS.format(distinct="")
    + """
 WHERE name = :name AND (is_offered OR NOT EXISTS (SELECT FROM offers WHERE is_offered))
 ORDER BY since DESC, offer
"""
)


class PostgresRegisteredTaskRepository(RegisteredTaskRepository):
    """The offers of workers in one transaction. Times are those of the database."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def offer(
        self, worker: str, tasks: Sequence[RegisteredTask], *, lasts: timedelta
    ) -> None:
        rows = [_to_row(task) for task in tasks]
        offer = sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
        expires_at = func.now() + lasts
        known = await self._transaction.write(
            update(task_workers)
            .where(task_workers.c.worker == worker, task_workers.c.offer == offer)
            .values(expires_at=expires_at)
        )
        if not known.rowcount:
            # Otherwise another worker could delete an offer that this one has just found.
            lock = func.pg_advisory_xact_lock(AdvisoryLock.REGISTERED_TASKS)
            await self._transaction.write(select(lock))
            statement = upsert(task_workers).values(
                worker=worker, offer=offer, expires_at=expires_at
            )
            await self._transaction.write(
                statement.on_conflict_do_update(
                    index_elements=[task_workers.c.worker],
                    set_={
                        "offer": offer,
                        "since": func.now(),
                        "expires_at": statement.excluded.expires_at,
                    },
                )
            )
            if rows:
                await self._transaction.write(
                    upsert(registered_tasks).on_conflict_do_nothing(),
                    [{**row, "offer": offer} for row in rows],
                )
            await self._forget()

    async def withdraw(self, worker: str) -> None:
        await self._transaction.write(
            update(task_workers)
            .where(task_workers.c.worker == worker, task_workers.c.expires_at > func.now())
            .values(expires_at=func.now())
        )

    async def all(self) -> Sequence[OfferedTask]:
        return [
            OfferedTask(task=_to_task(row), is_offered=row.is_offered)
            for row in await self._transaction.read(_ALL)
        ]

    async def find(self, name: str) -> Sequence[RegisteredTask]:
        rows = await self._transaction.read(_FIND.bindparams(name=name))
        return [_to_task(row) for row in rows]

    async def is_empty(self) -> bool:
        statement = select(registered_tasks.c.name).limit(1)
        return (await self._transaction.read(statement)).first() is None

    async def _forget(self) -> None:
        is_old = task_workers.c.expires_at < func.now() - _REMEMBERED
        await self._transaction.write(delete(task_workers).where(is_old))
        offered = select(task_workers.c.worker).where(
            task_workers.c.offer == registered_tasks.c.offer
        )
        await self._transaction.write(delete(registered_tasks).where(not_(offered.exists())))


def _to_row(task: RegisteredTask) -> dict[str, Any]:
    return {
        "name": task.name,
        "description": task.description,
        "parameters": [asdict(parameter) for parameter in task.parameters],
        "accepts_anything": task.accepts_anything,
    }


def _to_task(row: Row[Any]) -> RegisteredTask:
    return RegisteredTask(
        name=row.name,
        description=row.description,
        parameters=tuple(
            Parameter(**{**each, "kind": ParameterKind(each["kind"])}) for each in row.parameters
        ),
        accepts_anything=row.accepts_anything,
    )
