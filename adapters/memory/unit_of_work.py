"""`UnitOfWork` on a `MemoryStore`."""

from types import TracebackType
from typing import Self

from adapters.memory.store import MemoryStore, MemoryTransaction
from adapters.repositories import repositories_in
from application.ports.unit_of_work import UnitOfWork


class MemoryUnitOfWork(UnitOfWork):
    """One transaction, and the repositories that share it."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._repositories = repositories_in("adapters.memory")

    async def __aenter__(self) -> Self:
        self._transaction = MemoryTransaction(self._store)
        for name, repository in self._repositories.items():
            setattr(self, name, repository(self._transaction))
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
