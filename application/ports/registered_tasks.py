"""The tasks that workers offer: what can be scheduled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from domain.scheduling.registered_tasks import RegisteredTask


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTask:
    """A registered task, and whether a worker offers it."""

    task: RegisteredTask
    """As the worker that started last offers it."""
    is_offered: bool
    """Whether a live worker offers it."""


class RegisteredTaskRepository(Protocol):
    """The tasks that workers know, in one unit of work: each worker says what it offers, again and again.

    The offer of a worker is remembered for a week after its last renewal.
    """

    async def offer(
        self, worker: str, tasks: Sequence[RegisteredTask], *, lasts: timedelta
    ) -> None:
        """Record the tasks of a worker, and that it lives for this long. Workers may call it concurrently."""
        ...

    async def withdraw(self, worker: str) -> None:
        """Record that a worker has ended."""
        ...

    async def all(self) -> Sequence[OfferedTask]:
        """Return every task that is remembered, ordered by name."""
        ...

    async def find(self, name: str) -> Sequence[RegisteredTask]:
        """Return the task of that name as the workers that live know it, the one that was started last first.

        They may know it differently: old and new ones run side by side for a while. If none lives, all that are
        remembered count.
        """
        ...

    async def is_empty(self) -> bool:
        """Tell whether no task is remembered, because no worker was ever started."""
        ...
