"""`UnitOfWork` on a `MemoryStore`."""

from types import TracebackType
from typing import Self

from adapters.memory.outbox import MemoryOutbox
from adapters.memory.permissions import MemoryPermissionRepository
from adapters.memory.roles import MemoryRoleRepository
from adapters.memory.scheduling.periodic_tasks import MemoryPeriodicTaskRepository
from adapters.memory.scheduling.registered_tasks import MemoryRegisteredTaskRepository
from adapters.memory.scheduling.task_runs import MemoryRunRepository
from adapters.memory.store import MemoryStore, MemoryTransaction
from adapters.memory.users import MemoryUserRepository
from application.ports.unit_of_work import UnitOfWork


class MemoryUnitOfWork(UnitOfWork):
    """One transaction, and the repositories that share it."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def __aenter__(self) -> Self:
        self._transaction = MemoryTransaction(self._store)
        self.users = MemoryUserRepository(self._transaction)
        self.roles = MemoryRoleRepository(self._transaction)
        self.permissions = MemoryPermissionRepository(self._transaction)
        self.outbox = MemoryOutbox(self._transaction)
        self.periodic_tasks = MemoryPeriodicTaskRepository(self._transaction)
        self.runs = MemoryRunRepository(self._transaction)
        self.registered_tasks = MemoryRegisteredTaskRepository(self._transaction)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transaction.end()

    async def commit(self) -> None:
        self._transaction.commit()
