"""Waiting for what others do: until a condition holds, and whether a task is held up."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def waits(task: asyncio.Task[Any]) -> bool:
    """Return whether the task is held up by another one."""
    await asyncio.wait({task}, timeout=0.1)
    return not task.done()


async def until(condition: Callable[[], Any], *, within: float = 30) -> None:
    """Return once the condition, plain or async, holds; raise `TimeoutError` after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], Any], *, within: float = 40) -> Any:
    """Return what the condition returns as soon as that is true; fail after `within` seconds."""
    end = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
    return found
