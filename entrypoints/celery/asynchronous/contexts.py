"""Asynchronous context managers that stay entered for as long as an event loop runs."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from typing import Any, Generic, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")

Manager = Callable[[], AbstractAsyncContextManager[T]]
"""Makes the context manager; also the key under which it is entered once."""


class EnteredContexts:
    """The contexts that were entered on one loop, in the order in which that succeeded."""

    def __init__(self) -> None:
        self._entered: dict[Manager[Any], _Entered[Any]] = {}

    async def enter(self, manager: Manager[T]) -> T:
        """Enter once, however many ask; return what that gave.

        All who wait raise what entering raises; the next who asks tries again.
        """
        entered = self._entered.get(manager)
        if entered is None:
            entered = self._entered[manager] = _Entered(manager, among=self._entered)
        return await asyncio.shield(entered.value)

    async def leave_all(self) -> None:
        """Leave everything, the last entered first; what that raises is logged."""
        for entered in reversed([*self._entered.values()]):
            await entered.leave()


class _Entered(Generic[T]):
    """One of them, in a task of its own: some must be left by the task that entered them.

    The task has an empty context, so that what it starts does not belong to the Celery task that came first.
    """

    def __init__(self, manager: Manager[T], *, among: dict[Manager[Any], "_Entered[Any]"]) -> None:
        loop = asyncio.get_running_loop()
        self.value: asyncio.Future[T] = loop.create_future()
        self._leaving = asyncio.Event()
        self._task = loop.create_task(self._hold(manager, among), context=Context())

    async def leave(self) -> None:
        self._leaving.set()
        await asyncio.wait({self._task})

    async def _hold(self, manager: Manager[T], among: dict[Manager[Any], "_Entered[Any]"]) -> None:
        try:
            async with manager() as value:
                # To the end of the order, for what it needed was entered before it.
                among[manager] = among.pop(manager)
                self.value.set_result(value)
                await self._leaving.wait()
        except Exception as error:  # noqa: BLE001  who waits for the value raises it
            if self.value.done():
                _log.exception("%r failed", manager)
            else:
                self.value.set_exception(error)
        finally:
            among.pop(manager, None)
