"""Tasks for workers of the tests; `PORTICO_TASK_MODULES` names this module."""

import asyncio
import os
import signal
import time
from pathlib import Path
from uuid import UUID

from celery.exceptions import Ignore, Reject

from domain.identity import UserId
from entrypoints.celery.app import app
from entrypoints.celery.process import container
from entrypoints.celery.typed import TypedTask


@app.task(name="test.note")
async def note(file: str, text: str = "") -> None:
    """Add a line to a file."""
    await asyncio.sleep(0)
    with Path(file).open("a") as lines:  # noqa: ASYNC230 - a test's
        lines.write(f"{text}\n")


@app.task(name="test.notify")
async def notify(user_id: str) -> None:
    """Notify a user."""
    opened = await container()
    await opened.notify()(UserId(UUID(user_id)), "test.notified", {"number": 7})


@app.task(name="test.fail")
def fail(text: str) -> None:
    """Raise `ValueError`."""
    raise ValueError(text)


@app.task(name="test.die")
def die() -> None:
    """End the process of the pool."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="test.die_once", acks_late=True, reject_on_worker_lost=True)
def die_once(file: str) -> None:
    """End the process of the pool when the message has expired, and take a moment when it comes back."""
    if not Path(file).exists():
        Path(file).touch()
        time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1)


@app.task(name="test.try_again", bind=True)
async def try_again(
    self: TypedTask[[float, float | None], None], after: float, expires: float | None = None
) -> None:
    """Fail, and succeed some seconds later, unless the second attempt expires before that."""
    if self.request.retries:
        return
    if expires is None:
        raise self.retry(countdown=after)
    raise self.retry(countdown=after, expires=expires)


@app.task(name="test.say_nothing")
async def say_nothing() -> None:
    """Leave no result."""
    raise Ignore


@app.task(name="test.give_up", acks_late=True)
def give_up() -> None:
    """Refuse the message."""
    raise Reject("not mine", requeue=False)


class Wordless(Exception):
    """Says nothing of itself, as some of libraries do not."""

    def __str__(self) -> str:
        raise AttributeError


ODD: dict[str, BaseException] = {
    "Wordless": Wordless(),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "SystemExit": SystemExit(1),
    "GeneratorExit": GeneratorExit(),
    "BaseExceptionGroup": BaseExceptionGroup("two", [GeneratorExit(), ValueError()]),
    "CancelledError": asyncio.CancelledError(),
    "MemoryError": MemoryError(),
}


@app.task(name="test.raise_oddly")
def raise_oddly(name: str) -> None:
    """Raise what is hardly ever raised."""
    raise ODD[name]


@app.task(name="test.raise_oddly_later")
async def raise_oddly_later(name: str) -> None:
    """Raise it in a coroutine."""
    raise ODD[name]


@app.task(name="test.hang", time_limit=1)
def hang() -> None:
    """Take longer than is allowed."""
    time.sleep(60)
