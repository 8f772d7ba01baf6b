"""`TaskCatalogue` in the table `registered_tasks`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.postgres.records import among
from adapters.postgres.tables import AdvisoryLock, registered_tasks
from adapters.postgres.transaction import Transaction
from application.ports.scheduling import TaskCatalogue
from domain.scheduling.signatures import Parameter, ParameterKind, RegisteredTask


class PostgresTaskCatalogue(TaskCatalogue):
    """Registered tasks, seen through one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def replace(self, tasks: Sequence[RegisteredTask]) -> None:
        lock = func.pg_advisory_xact_lock(AdvisoryLock.REGISTERED_TASKS)
        await self._transaction.write(select(lock))
        known = {task.name: task for task in await self.all()}
        gone = known.keys() - {task.name for task in tasks}
        if gone:
            await self._transaction.write(
                delete(registered_tasks).where(among(registered_tasks.c.name, gone))
            )
        if new := [_to_row(task) for task in tasks if known.get(task.name) != task]:
            statement = upsert(registered_tasks)
            await self._transaction.write(
                statement.on_conflict_do_update(
                    index_elements=[registered_tasks.c.name],
                    set_={
                        column.name: statement.excluded[column.name]
                        for column in registered_tasks.c
                        if not column.primary_key
                    },
                ),
                new,
            )

    async def all(self) -> Sequence[RegisteredTask]:
        statement = select(registered_tasks).order_by(registered_tasks.c.name)
        return [_to_task(row) for row in await self._transaction.read(statement)]

    async def find(self, name: str) -> RegisteredTask | None:
        statement = select(registered_tasks).where(registered_tasks.c.name == name)
        row = (await self._transaction.read(statement)).one_or_none()
        return None if row is None else _to_task(row)

    async def is_empty(self) -> bool:
        statement = select(registered_tasks.c.name).limit(1)
        return (await self._transaction.read(statement)).first() is None


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
