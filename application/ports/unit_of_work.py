"""One transaction of the relational store, and the repositories that live in it."""

from types import TracebackType
from typing import Any, Protocol, Self

from application.ports.files import FileRepository
from application.ports.outbox import Outbox
from application.ports.periodic_tasks import PeriodicTaskRepository
from application.ports.permissions import PermissionRepository
from application.ports.registered_tasks import RegisteredTaskRepository
from application.ports.roles import RoleRepository
from application.ports.rooms import RoomRepository
from application.ports.task_runs import RunRepository
from application.ports.users import UserRepository


def repository() -> Any:  # noqa: ANN401 - of the type that the field has
    """Say that each unit of work has a repository there: the one class of its package that inherits the type."""
    return None


class UnitOfWork(Protocol):
    """A transaction. Leaving the block without `commit` undoes everything.

    Every access to the store raises `Unavailable` if it is down, too slow, or gave up on a deadlock. After
    an error of the store, conflicts included, the transaction is over: everything raises that error again.
    """

    users: UserRepository = repository()
    roles: RoleRepository = repository()
    permissions: PermissionRepository = repository()
    outbox: Outbox = repository()
    periodic_tasks: PeriodicTaskRepository = repository()
    runs: RunRepository = repository()
    registered_tasks: RegisteredTaskRepository = repository()
    rooms: RoomRepository = repository()
    files: FileRepository = repository()

    async def __aenter__(self) -> Self:
        """Begin; raise `Unavailable` if the store is down."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Roll back and return the connection."""
        ...

    async def commit(self) -> None:
        """Make everything since the start of the block durable, or raise and change nothing.

        Only if the store is lost, or the caller cancelled, in this very moment is it open which of the two
        happens; then it has happened within 45 seconds after the last statement before.
        """
        ...


class UnitOfWorkFactory(Protocol):
    """Makes units of work."""

    def __call__(self) -> UnitOfWork:
        """Return one that has not begun; enter it with `async with`."""
        ...
