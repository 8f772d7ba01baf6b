"""Async tasks without a worker: called, applied eagerly, and awaited. `tests/integration` has the real pools."""

import asyncio
import logging
import os
import pickle
import signal
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import pytest
from celery import Task, current_app, current_task
from celery._state import get_current_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.result import AsyncResult
from pydantic import BaseModel, ValidationError

from entrypoints.celery.asynchronous.loop import EventLoopEnded, LoopThread, process_loop
from entrypoints.celery.asynchronous.resources import Resource
from entrypoints.celery.asynchronous.results import aresult
from entrypoints.celery.asynchronous.stacks import Execution
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


# --- interruptions ---


class Reports(logging.Handler):
    """The warnings of the module, and when there is one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.arrived = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.arrived.set()


@pytest.fixture
def reports() -> Iterator[Reports]:
    logger = logging.getLogger("entrypoints.celery.asynchronous")
    reports = Reports()
    logger.addHandler(reports)
    yield reports
    logger.removeHandler(reports)


@contextmanager
def raising_on_sigusr1(error: BaseException) -> Iterator[None]:
    """Do what a prefork child does: raise from the handler of the signal."""

    def handler(*_: object) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


async def interrupted() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.Event().wait()


def test_a_soft_time_limit_is_raised_where_the_coroutine_waits(app: TypedCelery) -> None:
    steps: list[str] = []

    @app.task
    async def work() -> str:
        try:
            await interrupted()
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0)
            steps.append("except")
        finally:
            await asyncio.sleep(0)
            steps.append("finally")
        return "tidy"

    with raising_on_sigusr1(SoftTimeLimitExceeded()):
        assert work() == "tidy"
    assert steps == ["except", "finally"]


def test_a_soft_time_limit_reaches_a_coroutine_that_gathers(app: TypedCelery) -> None:
    ended: list[str] = []

    async def part(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    @app.task
    async def work() -> None:
        await asyncio.gather(part("a"), part("b"), interrupted())

    with raising_on_sigusr1(SoftTimeLimitExceeded()), pytest.raises(SoftTimeLimitExceeded):
        work()
    assert ended == ["a", "b"]


def test_a_soft_time_limit_arrives_although_something_swallows_the_cancellation(
    app: TypedCelery,
) -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await interrupted()

    @app.task
    async def work() -> str:
        try:
            await asyncio.create_task(stubborn())
        except SoftTimeLimitExceeded:
            return "told"
        return "not told"

    with raising_on_sigusr1(SoftTimeLimitExceeded()):
        assert work() == "told"


def test_a_coroutine_may_be_cancelled_and_time_out_after_a_soft_time_limit(
    app: TypedCelery,
) -> None:
    @app.task
    async def work() -> str:
        try:
            await interrupted()
        except SoftTimeLimitExceeded:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            except TimeoutError:
                return "timed out"
        return "?"

    with raising_on_sigusr1(SoftTimeLimitExceeded()):
        assert work() == "timed out"


def test_the_end_of_the_process_cancels_the_coroutine(app: TypedCelery) -> None:
    ended: list[str] = []

    @app.task
    async def work() -> None:
        try:
            await interrupted()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ended.append("cancelled")
            raise

    with raising_on_sigusr1(SystemExit(3)), pytest.raises(SystemExit):
        work()
    assert ended == ["cancelled"]


def test_a_coroutine_that_was_cancelled_by_others_fails_like_any_other(app: TypedCelery) -> None:
    @app.task
    async def work() -> None:
        raise asyncio.CancelledError

    result = work.apply()

    assert result.state == "FAILURE"
    assert isinstance(result.result, CancelledError)


def test_system_exit_ends_the_task_and_not_the_loop(app: TypedCelery) -> None:
    @app.task
    async def leave() -> None:
        raise SystemExit(1)

    before = process_loop.thread()

    with pytest.raises(SystemExit):
        leave()
    assert process_loop.thread() is before


def test_a_coroutine_that_is_slow_to_end_is_reported_and_waited_for(
    reports: Reports,
) -> None:
    async def slow_to_end() -> str:
        with suppress(SoftTimeLimitExceeded):
            await interrupted()
        await asyncio.to_thread(reports.arrived.wait)
        return "done"

    thread = LoopThread(patience=0.01)
    with raising_on_sigusr1(SoftTimeLimitExceeded()):
        assert thread.run(slow_to_end(), Execution()) == "done"
    thread.stop()

    assert reports.lines == ["a coroutine was told to end 0.01 s ago and still runs"]


def test_a_process_that_ends_leaves_behind_what_does_not(reports: Reports) -> None:
    let_go = threading.Event()

    async def stubborn() -> None:
        try:
            await interrupted()
        finally:
            await asyncio.to_thread(let_go.wait)

    thread = LoopThread(patience=0.01)
    with raising_on_sigusr1(SystemExit()), pytest.raises(SystemExit):
        thread.run(stubborn(), Execution())
    thread.stop()

    assert reports.lines == [
        "a coroutine was told to end 0.01 s ago and still runs",
        "the event loop was told to stop 0.01 s ago and still runs",
    ]
    let_go.set()


def test_a_message_that_was_revoked_before_its_coroutine_began_does_not_begin(
    app: TypedCelery,
) -> None:
    begun: list[int] = []

    @app.task
    async def work() -> None:
        begun.append(1)

    process_loop.thread().interrupt("revoked", SoftTimeLimitExceeded())

    assert isinstance(work.apply(task_id="revoked").result, SoftTimeLimitExceeded)
    assert work.apply(task_id="another").state == "SUCCESS"
    assert begun == [1]


# --- the loop and what is open on it ---


def test_a_crash_of_the_loop_is_reported_and_the_next_call_has_a_new_one(
    app: TypedCelery, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []

    def crash() -> None:
        raise SystemExit(1)

    @app.task(name="work")
    async def work(then: Any) -> str:
        if then:
            asyncio.get_running_loop().call_soon(then)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("finally")
        return "done"

    with pytest.raises(EventLoopEnded, match="crashed while work ran"):
        work(crash)

    assert ended == ["finally"]
    assert [r.message for r in caplog.records if r.levelno == logging.CRITICAL] == [
        "the event loop of async tasks crashed"
    ]
    assert work(None) == "done"


def test_stopping_ends_what_still_runs(app: TypedCelery) -> None:
    began, ended = threading.Event(), threading.Event()

    @app.task
    async def wait_for_ever() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    errors: list[BaseException] = []

    def call() -> None:
        try:
            wait_for_ever()
        except EventLoopEnded as error:
            errors.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    assert began.wait(5)

    process_loop.stop()
    caller.join(5)

    assert ended.is_set()
    assert len(errors) == 1


class Journal:
    """Resources that write down when they are opened and closed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.broken = False

    def resource(self, name: str, needs: Resource[str] | None = None) -> Resource[str]:
        @asynccontextmanager
        async def manager() -> AsyncIterator[str]:
            if needs:
                await needs()
            await asyncio.sleep(0)
            if self.broken:
                raise ConnectionError(name)
            self.lines.append(f"open {name}")
            # A task group must be left by the task that entered it.
            async with asyncio.TaskGroup():
                yield name
            self.lines.append(f"close {name}")

        return Resource(manager)


@pytest.fixture
def journal() -> Journal:
    return Journal()


def test_resources_are_opened_once_and_closed_in_reverse(
    app: TypedCelery, journal: Journal
) -> None:
    first = journal.resource("first")
    second = journal.resource("second", needs=first)

    @app.task
    async def use() -> list[str]:
        return [*await asyncio.gather(second(), first(), second())]

    assert use() == use() == ["second", "first", "second"]
    assert journal.lines == ["open first", "open second"]

    process_loop.stop()

    assert journal.lines[2:] == ["close second", "close first"]


def test_a_resource_that_could_not_be_opened_is_tried_again(
    app: TypedCelery, journal: Journal
) -> None:
    resource = journal.resource("database")

    @app.task
    async def use() -> str:
        return await resource()

    journal.broken = True
    with pytest.raises(ConnectionError):
        use()

    journal.broken = False
    assert use() == "database"


def test_what_a_resource_starts_does_not_belong_to_the_task_that_came_first(
    app: TypedCelery,
) -> None:
    @Resource
    @asynccontextmanager
    async def onlooker() -> AsyncIterator[Any]:
        yield get_current_task()

    @app.task
    async def use() -> Any:
        return await onlooker()

    assert use.apply().get() is None


async def test_a_resource_is_replaced_in_a_test(app: TypedCelery, journal: Journal) -> None:
    resource = journal.resource("database")

    @app.task
    async def use() -> str:
        return await resource()

    with resource.replaced("a fake"):
        assert use() == "a fake"
        assert await use.acall() == "a fake"
    assert journal.lines == []


async def test_a_resource_belongs_to_the_loop_of_async_tasks(journal: Journal) -> None:
    resource = journal.resource("database")

    with pytest.raises(RuntimeError, match="only async tasks"):
        await resource()
