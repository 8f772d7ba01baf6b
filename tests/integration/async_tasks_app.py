"""The application whose workers `test_async_tasks.py` starts: what async tasks may do in a worker.

Run as `celery -A tests.integration.async_tasks_app --broker … --result-backend … worker`.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import asyncpg
from celery import Task, current_task
from celery.concurrency.solo import TaskPool
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.signals import task_prerun
from pydantic import BaseModel
from redis.asyncio import Redis

from entrypoints.celery import stopping
from entrypoints.celery.asynchronous.resources import Resource
from entrypoints.celery.asynchronous.results import aresult
from entrypoints.celery.typed import TypedCelery

app = TypedCelery("async_tasks", task_cls="entrypoints.celery.recording:RecordedTask")
app.conf.update(
    broker_connection_retry_on_startup=True,
    result_extended=True,
    task_default_queue="async-tasks",
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=4,
)


if "STOP_WITHIN" in os.environ:  # noqa: TID251 - of the test that starts the worker
    stopping.hand_back(lambda: timedelta(seconds=float(os.environ["STOP_WITHIN"])))  # noqa: TID251


class GreenPool(TaskPool):
    """Looks like gevent's or eventlet's."""

    is_green = True


# --- contexts ---

request_id: ContextVar[str] = ContextVar("request_id")


@task_prerun.connect
def _set_request_id(kwargs: dict[str, Any], **_: object) -> None:
    if "request_id_to_set" in kwargs:
        request_id.set(kwargs["request_id_to_set"])


# The parent of a prefork pool runs this before it forks; its children must inherit nothing of the loop.
@app.task
async def ping() -> str:
    return "pong"


assert ping() == "pong"


@app.task
async def where() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        "loop": id(asyncio.get_running_loop()),
    }


@app.task(bind=True)
async def describe(self: Task[..., Any], request_id_to_set: str) -> dict[str, list[str | None]]:
    """Return what this task, one that it gathers, and a thread of it see, after a while in which others run."""

    async def see() -> list[str | None]:
        await asyncio.sleep(0.05)
        return look()

    def look() -> list[str | None]:
        return [self.request.id, current_task.request.id, request_id.get()]

    gathered, in_a_thread = await asyncio.gather(see(), asyncio.to_thread(look))
    return {"itself": look(), "gathered": gathered, "in a thread": in_a_thread}


# --- outcomes ---


class Point(BaseModel):
    x: int


@app.task(pydantic=True)
async def move(point: Point) -> Point:
    return Point(x=point.x + 1)


@app.task
async def add(x: int, y: int) -> int:
    await asyncio.sleep(0)
    return x + y


@app.task
async def total(numbers: list[int]) -> int:
    await asyncio.sleep(0)
    return sum(numbers)


@app.task(bind=True, max_retries=3)
async def retry_twice(self: Task[..., Any]) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0.01)
    return self.request.retries


@app.task(bind=True, autoretry_for=[ConnectionError], retry_kwargs={"countdown": 0.01})
async def fail_twice(self: Task[..., Any]) -> int:
    if self.request.retries < 2:
        raise ConnectionResetError
    return self.request.retries


class NotEnough(Exception):
    """Cannot be rebuilt from its `args` alone."""

    def __init__(self, wanted: int, *, left: int) -> None:
        super().__init__(wanted, left)
        self.left = left


@app.task
async def fail(kind: str) -> None:
    errors = {"plain": ValueError("no"), "rich": NotEnough(2, left=1)}
    await _deep_inside(errors[kind])


ODD: dict[str, BaseException] = {
    "KeyboardInterrupt": KeyboardInterrupt(),
    "SystemExit": SystemExit(1),
    "GeneratorExit": GeneratorExit(),
    "BaseExceptionGroup": BaseExceptionGroup("two", [GeneratorExit(), ValueError()]),
    "CancelledError": asyncio.CancelledError(),
    "MemoryError": MemoryError(),
}


@app.task
def raise_oddly(name: str) -> None:
    raise ODD[name]


@app.task
async def raise_oddly_later(name: str) -> None:
    raise ODD[name]


async def _deep_inside(error: Exception) -> None:
    await asyncio.sleep(0)
    raise error


@app.task(acks_late=True)
async def take_long(key: str, *, seconds: float) -> str:
    """Note its beginning under `key`; take `seconds` unless another worker has begun it before."""
    redis = Redis.from_url(app.conf.broker_url)
    has_begun = await redis.rpush(key, "begun") > 1
    await redis.aclose()
    await asyncio.sleep(0 if has_begun else seconds)
    return "again" if has_begun else "at once"


@app.task(acks_late=True)
async def ignore() -> None:
    raise Ignore


@app.task(acks_late=True)
async def reject() -> None:
    raise Reject("no", requeue=False)


@app.task
async def publish_and_wait(x: int, queue: str) -> int:
    return await aresult(add.options(queue=queue).delay(x, 1), timeout=20)


@app.task
async def crash_the_loop() -> None:
    def crash() -> None:
        raise SystemExit(1)

    asyncio.get_running_loop().call_soon(crash)
    await asyncio.Event().wait()


# --- limits and revoking ---


async def _note(key: str, *values: object) -> None:
    async with Redis.from_url(app.conf.broker_url) as redis:
        await redis.rpush(key, *(str(value) for value in values))


async def _work_until_stopped(key: str) -> None:
    try:
        await _note(key, "begun", os.getpid())
        await asyncio.gather(asyncio.Event().wait(), asyncio.Event().wait())
    except SoftTimeLimitExceeded:
        await _note(key, "except")
        raise
    finally:
        await _note(key, "finally")


@app.task
async def work_until_stopped(key: str) -> None:
    await _work_until_stopped(key)


@app.task
async def clean_up_on_request(key: str) -> str:
    with suppress(SoftTimeLimitExceeded):
        await _work_until_stopped(key)
    return "tidy"


@app.task
async def work_for(seconds: float, key: str) -> str:
    await _note(key, "begun")
    await asyncio.sleep(seconds)
    return "done"


# --- resources ---


@Resource
@asynccontextmanager
async def journal() -> AsyncIterator["Redis"]:
    await _note("lifecycle", f"open journal {os.getpid()}")
    async with Redis.from_url(app.conf.broker_url, decode_responses=True) as redis:
        yield redis
    await _note("lifecycle", f"close journal {os.getpid()}")


@Resource
@asynccontextmanager
async def database() -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    url = str(await (await journal()).get("postgres-url"))
    async with asyncpg.create_pool(url, min_size=1, max_size=3) as pool:
        await _note("lifecycle", f"open database {os.getpid()}")
        yield pool
    await _note("lifecycle", f"close database {os.getpid()}")


@app.task
async def query(number: int) -> list[int]:
    """Return the number, from PostgreSQL, and who answered: its process and its loop."""
    async with (await database()).acquire() as connection:
        [answer] = await connection.fetch("SELECT $1::int, pg_backend_pid()", number)
    return [*answer, os.getpid(), id(asyncio.get_running_loop())]
