"""Whether somebody is held up by somebody else."""

import asyncio
from typing import Any


async def waits(task: asyncio.Task[Any]) -> bool:
    """Tell whether the task is held up by somebody else."""
    await asyncio.wait({task}, timeout=0.1)
    return not task.done()
