"""Gauges that a process sets itself, each second: a scrape may be answered by another process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from platform import python_version

from application.metrics import BUILD, EVENT_LOOP_LAG, KEY_CREATED
from application.ports.metrics import Metrics, Sampled
from application.settings import KeySettings


@asynccontextmanager
async def sampling(
    metrics: Metrics, gauges: Sequence[Sampled], *, every: float = 1.0
) -> AsyncIterator[None]:
    """Set gauges, and observe how late the event loop is, while the block runs."""
    set_build(metrics)
    task = asyncio.create_task(_sample(metrics, gauges, every), name="sampling")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def set_build(metrics: Metrics) -> None:
    """Say which versions this process runs."""
    metrics.set(BUILD, 1, version("portico"), python_version())


def set_key_times(metrics: Metrics, keys: KeySettings) -> None:
    """Say when the active keys were made, as far as they are files."""
    rings = {"access": keys.access, "refresh": keys.refresh, "transport": keys.transport}
    for purpose, ring in rings.items():
        if ring.made_at is not None:
            metrics.set(KEY_CREATED, ring.made_at.timestamp(), purpose)


async def _sample(metrics: Metrics, gauges: Sequence[Sampled], every: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every
        for gauge in gauges:
            gauge(metrics)
        await asyncio.sleep(due - loop.time())
        metrics.observe(EVENT_LOOP_LAG, max(0.0, loop.time() - due))
