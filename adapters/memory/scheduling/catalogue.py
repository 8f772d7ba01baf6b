"""The tasks that workers know, in memory."""

from collections.abc import Sequence

from adapters.memory.store import MemoryTransaction
from application.ports.scheduling import TaskCatalogue
from domain.scheduling.signatures import RegisteredTask


class MemoryTaskCatalogue(TaskCatalogue):
    """Registered tasks, seen through one transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._tasks = transaction.registered_tasks

    async def replace(self, tasks: Sequence[RegisteredTask]) -> None:
        for gone in {task.name for task in await self.all()} - {task.name for task in tasks}:
            self._tasks.remove(gone)
        for task in tasks:
            self._tasks.write(task.name, task)

    async def all(self) -> Sequence[RegisteredTask]:
        return sorted(self._tasks.where(), key=lambda task: task.name)

    async def find(self, name: str) -> RegisteredTask | None:
        return self._tasks.find(name)

    async def is_empty(self) -> bool:
        return not self._tasks.where()
