"""Waiting for the result of a task without blocking an event loop."""

import asyncio
from typing import TypeVar

from celery.result import AsyncResult

R = TypeVar("R")

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.25


async def aresult(result: AsyncResult[R], timeout: float | None = None) -> R:  # noqa: ASYNC109  as in `AsyncResult.get`
    """Return the value of a task or raise what it raised; raise `TimeoutError` after `timeout` seconds.

    Asks the result backend every 10 ms at first and every 250 ms in the end. A task that waits for another keeps its
    place in the pool meanwhile: with too few places both wait for ever. Better chain them.
    """
    if not result.ignored:
        pause = _FIRST_PAUSE
        async with asyncio.timeout(timeout):
            while not await asyncio.to_thread(result.ready):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
    return result.get(disable_sync_subtasks=False)
