"""Objects that async tasks share: the container, with its engines and clients, which belong to one event loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

from entrypoints.celery.asynchronous.contexts import Manager
from entrypoints.celery.asynchronous.loop import process_loop

T = TypeVar("T")


class Resource(Generic[T]):
    """Opened by the first task of a process that awaits it, closed when the process goes.

    Decorate what makes an asynchronous context manager::

        @Resource
        @asynccontextmanager
        async def container() -> AsyncIterator[Container]: ...

        @app.task
        async def purge_sessions(before: datetime) -> int:
            return await (await container()).purge_sessions()(before=before)

    One that needs another awaits it; it is closed first. If opening fails, the tasks that wait for it fail, and the
    next one tries again.
    """

    def __init__(self, manager: Manager[T]) -> None:
        self._manager = manager
        self._replacement: ContextVar[T] = ContextVar(repr(manager))

    async def __call__(self) -> T:
        """Return what was opened; raise `RuntimeError` anywhere but in an async task."""
        try:
            return self._replacement.get()
        except LookupError:
            return await process_loop.current().contexts.enter(self._manager)

    @contextmanager
    def replaced(self, value: T) -> Iterator[None]:
        """Return `value` to callers in the block, and never open the real one: for tests."""
        token = self._replacement.set(value)
        try:
            yield
        finally:
            self._replacement.reset(token)
