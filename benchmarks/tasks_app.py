"""The tasks that are compared, and what fills the queue with them.

Run as `python -m benchmarks.tasks_app BROKER TASK NUMBER`.
"""

import asyncio
import sys

from celery import Celery
from redis import Redis

from entrypoints.celery.typed import TypedCelery

app = TypedCelery("bench")
app.conf.update(
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
)
plain = Celery("plain", set_as_current=False)


@app.task(name="bench.ours_noop")
async def ours_noop() -> None:
    """Do nothing, on the event loop of the process."""


@app.task(name="bench.nap")
async def nap() -> None:
    """Wait for something."""
    await asyncio.sleep(0.1)


@plain.task(name="bench.plain_noop")
def plain_noop() -> None:
    """Do nothing."""


@app.task(name="bench.note")
def note(broker: str, key: str) -> None:
    """Say that the worker has come to this message."""
    with Redis.from_url(broker) as redis:
        redis.rpush(key, "")


# One worker runs both: what differs is the class of the task alone.
app.tasks.register(plain_noop)


def fill(broker: str, task: str, number: int) -> None:
    """Publish `number` messages between two that say when the worker has begun and ended."""
    app.conf.update(broker_url=broker)
    with app.producer_or_acquire() as producer:
        note.apply_async((broker, "begun"), producer=producer)
        for _ in range(number):
            app.send_task(task, producer=producer)
        note.apply_async((broker, "ended"), producer=producer)


if __name__ == "__main__":
    fill(sys.argv[1], sys.argv[2], int(sys.argv[3]))
