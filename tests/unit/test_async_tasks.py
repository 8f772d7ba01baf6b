"""Async tasks without a worker: called, applied eagerly, and awaited. `tests/integration` has the real pools."""

import asyncio
import pickle
import threading
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from celery import Task, current_app, current_task
from celery._state import get_current_task
from celery.exceptions import Ignore, Reject
from celery.result import AsyncResult
from pydantic import BaseModel, ValidationError

from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.asynchronous.results import aresult
from entrypoints.celery.asynchronous.tasks import WouldDeadlock
from entrypoints.celery.typed import TypedCelery, TypedTask

request_id: ContextVar[str] = ContextVar("request_id")


@pytest.fixture
def app() -> Iterator[TypedCelery]:
    app = TypedCelery("test", broker="memory://", backend="cache+memory://", set_as_current=False)
    yield app
    app.close()


@pytest.fixture(autouse=True)
def _loop_of_its_own() -> Iterator[None]:
    yield
    process_loop.stop()


# --- what the author of a task sees ---


def test_an_async_task_is_called_like_a_function(app: TypedCelery) -> None:
    @app.task
    async def add(x: int, y: int) -> int:
        await asyncio.sleep(0)
        return x + y

    assert add(1, 2) == 3
    assert add.apply((1, 2)).get() == 3


def test_all_coroutines_of_a_process_run_on_one_loop_in_a_thread_of_its_own(
    app: TypedCelery,
) -> None:
    @app.task
    async def where() -> tuple[int, int]:
        return id(asyncio.get_running_loop()), threading.get_ident()

    assert where() == where.apply().get()
    assert where()[1] != threading.get_ident()


def test_sync_tasks_stay_in_the_thread_that_runs_them(app: TypedCelery) -> None:
    @app.task
    def where() -> int:
        return threading.get_ident()

    assert where() == where.apply().get() == threading.get_ident()


def test_bound_tasks_find_their_request(app: TypedCelery) -> None:
    @app.task(bind=True)
    async def describe(self: Task[..., Any], word: str) -> tuple[Any, ...]:
        await asyncio.sleep(0)
        return self.request.id, self.request.args, self.request.is_eager, word

    result = describe.apply(("hello",))

    assert result.get() == (result.id, ("hello",), True, "hello")


def test_gathered_coroutines_and_threads_find_the_request_too(app: TypedCelery) -> None:
    def here() -> str:
        return f"{current_task.request.id} {current_task.name}"

    async def later() -> str:
        await asyncio.sleep(0)
        return here()

    @app.task
    async def ask() -> list[str]:
        return [here(), *await asyncio.gather(later(), later(), asyncio.to_thread(here))]

    result = ask.apply()

    assert result.get() == [f"{result.id} {ask.name}"] * 4


def test_the_current_app_is_that_of_the_task(app: TypedCelery) -> None:
    @app.task
    async def ask() -> str:
        return current_app.main

    assert ask() == "test"


def test_what_a_task_leaves_running_belongs_to_no_task_any_more(app: TypedCelery) -> None:
    seen: list[Any] = []
    proceed, done = threading.Event(), threading.Event()

    async def stay() -> None:
        await asyncio.to_thread(proceed.wait)
        seen.append(get_current_task())
        done.set()

    @app.task
    async def leave() -> None:
        seen.append(asyncio.create_task(stay()))

    leave.apply()
    proceed.set()

    assert done.wait(5)
    assert seen[1] is None


def test_context_variables_of_the_caller_are_seen_inside(app: TypedCelery) -> None:
    async def ask() -> str:
        return request_id.get()

    @app.task
    async def gather() -> list[str]:
        return [*await asyncio.gather(ask(), ask())]

    request_id.set("r-1")

    assert gather() == ["r-1", "r-1"]


def test_arguments_are_checked_before_they_are_sent(app: TypedCelery) -> None:
    @app.task
    async def add(x: int, *, y: int) -> int:
        return x + y

    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'y'"):
        add.apply_async((1,))


def test_models_are_validated_and_dumped(app: TypedCelery) -> None:
    class Point(BaseModel):
        x: int

    @app.task(pydantic=True)
    async def move(point: Point) -> Point:
        return Point(x=point.x + 1)

    assert move.apply(({"x": 1},)).get() == {"x": 2}
    with pytest.raises(ValidationError):
        move.apply(({"x": "left"},)).get()


def test_retry_retries(app: TypedCelery) -> None:
    @app.task(bind=True, default_retry_delay=0)
    async def third_time_lucky(self: Task[..., Any]) -> int:
        if self.request.retries < 2:
            raise self.retry()
        return self.request.retries

    assert third_time_lucky.apply().get() == 2


def test_autoretry_retries(app: TypedCelery) -> None:
    attempts: list[int] = []

    @app.task(autoretry_for=[ConnectionError], dont_autoretry_for=[BrokenPipeError], max_retries=2)
    async def reach(error: type[Exception]) -> None:
        attempts.append(1)
        raise error

    with pytest.raises(ConnectionResetError):
        reach.apply((ConnectionResetError,)).get()
    assert len(attempts) == 3

    with pytest.raises(BrokenPipeError):
        reach.apply((BrokenPipeError,)).get()
    assert len(attempts) == 4


@pytest.mark.parametrize(("error", "state"), [(Ignore(), "IGNORED"), (Reject(), "REJECTED")])
def test_ignore_and_reject_mean_what_they_mean_in_other_tasks(
    app: TypedCelery, error: Exception, state: str
) -> None:
    @app.task
    async def give_up() -> None:
        raise error

    assert give_up.apply().state == state


def test_errors_keep_their_traceback_and_can_be_pickled(app: TypedCelery) -> None:
    async def deep_inside() -> None:
        raise ValueError("no")

    @app.task
    async def fail() -> None:
        await deep_inside()

    with pytest.raises(ValueError, match="no") as caught:
        fail()

    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["fail", "deep_inside"]
    assert repr(pickle.loads(pickle.dumps(caught.value))) == "ValueError('no')"  # noqa: S301


def test_class_tasks_may_be_async(app: TypedCelery) -> None:
    class Double(TypedTask[[int], int]):
        name = "double"

        async def run(self, x: int) -> int:  # type: ignore[override]  # celery-types' `run` is not async
            assert self.request.id
            return 2 * x

    double = app.register_task(Double())

    assert double.apply((2,)).get() == 4


# --- in and around other event loops ---


async def test_eager_execution_works_inside_a_running_loop(app: TypedCelery) -> None:
    @app.task
    async def add(x: int, y: int) -> int:
        await asyncio.sleep(0)
        return x + y

    app.conf.task_always_eager = True

    assert add.apply((1, 2)).get() == 3
    assert add.delay(1, 2).get() == 3


def test_a_call_that_would_wait_for_itself_says_so(app: TypedCelery) -> None:
    @app.task(name="inner")
    async def inner() -> None: ...

    @app.task
    async def outer() -> None:
        inner()

    with pytest.raises(WouldDeadlock, match=r"inner .* await its `acall`"):
        outer()


def test_a_thread_of_a_task_may_call_another_task(app: TypedCelery) -> None:
    @app.task
    async def inner() -> int:
        return 1

    @app.task
    async def outer() -> int:
        return await asyncio.to_thread(inner)

    assert outer() == 1


async def test_acall_runs_a_task_on_the_loop_of_its_caller(app: TypedCelery) -> None:
    @app.task(bind=True)
    async def where(self: Task[..., Any], word: str) -> tuple[Any, ...]:
        await asyncio.sleep(0)
        return asyncio.get_running_loop(), self.request.args, self.request.called_directly, word

    loop = asyncio.get_running_loop()

    assert await where.acall("hello") == (loop, ("hello",), True, "hello")


async def test_acall_runs_a_sync_task_in_a_thread(app: TypedCelery) -> None:
    @app.task(bind=True)
    def where(self: Task[..., Any], word: str) -> tuple[Any, ...]:
        return threading.get_ident(), self.request.args

    thread, args = await where.acall("hello")

    assert args == ("hello",)
    assert thread != threading.get_ident()


async def test_acalls_at_once_each_have_a_request_of_their_own(app: TypedCelery) -> None:
    @app.task(bind=True)
    async def slow(self: Task[..., Any], n: int) -> Any:
        for _ in range(n):
            await asyncio.sleep(0)
        return self.request.args

    assert await asyncio.gather(*(slow.acall(n) for n in (3, 1, 2))) == [(3,), (1,), (2,)]


def test_acall_composes_tasks(app: TypedCelery) -> None:
    @app.task(bind=True)
    async def inner(self: Task[..., Any], x: int) -> tuple[Any, int]:
        assert current_task.name == inner.name
        return self.request.args, x

    @app.task(bind=True)
    async def outer(self: Task[..., Any]) -> list[Any]:
        inside = await asyncio.gather(inner.acall(1), inner.acall(2))
        return [*inside, self.request.id, current_task.name]

    result = outer.apply()

    assert result.get() == [((1,), 1), ((2,), 2), result.id, outer.name]


def test_what_acall_publishes_descends_from_the_message_that_is_executed(app: TypedCelery) -> None:
    @app.task
    async def publish() -> None:
        child.delay()

    @app.task
    async def child() -> None: ...

    @app.task(bind=True)
    async def outer(self: Task[..., Any]) -> list[str]:
        await publish.acall()
        return [result.id for result in self.request.children]  # type: ignore[attr-defined]  # celery-types says str

    assert len(outer.apply().get()) == 1


async def test_acall_validates_models_and_returns_them(app: TypedCelery) -> None:
    class Point(BaseModel):
        x: int

    @app.task(pydantic=True)
    async def move(point: Point | dict[str, int]) -> Point:
        return Point(x=1)

    @app.task(pydantic=True)
    async def show(point: Point) -> int:
        return point.x

    assert await move.acall({"x": 1}) == Point(x=1)
    assert await show.acall(Point(x=2)) == 2


async def test_aresult_waits_for_a_value_or_an_error(app: TypedCelery) -> None:
    @app.task
    async def divide(x: int, y: int) -> float:
        return x / y

    assert await aresult(divide.apply((1, 2))) == 0.5
    with pytest.raises(ZeroDivisionError):
        await aresult(divide.apply((1, 0)))


async def test_aresult_gives_up_after_its_timeout(app: TypedCelery) -> None:
    nobody_runs_it: AsyncResult[int] = AsyncResult("1", app=app)

    with pytest.raises(TimeoutError):
        await aresult(nobody_runs_it, timeout=0.02)
