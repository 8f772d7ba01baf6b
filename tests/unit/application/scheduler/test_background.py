"""Background loops of the beat, and long work on the event loop."""

import asyncio
import time

from application.scheduler.background import in_slices


async def test_long_work_lets_others_use_the_event_loop_every_some_milliseconds() -> None:
    """A hundred thousand definitions take seconds; a slot that is due waits for none of them."""
    came_round = 0

    async def come_round() -> None:
        nonlocal came_round
        while True:
            await asyncio.sleep(0)
            came_round += 1

    other = asyncio.create_task(come_round())
    async for _ in in_slices(range(4)):
        time.sleep(0.011)  # noqa: ASYNC251 - the work
    other.cancel()

    assert came_round >= 3
