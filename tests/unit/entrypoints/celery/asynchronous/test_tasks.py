"""Async tasks without a worker: called, applied eagerly, and awaited. `tests/integration` has the real pools."""

import asyncio
import pickle
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import pytest
from celery import Task, current_app, current_task
from celery._state import get_current_task
from celery.app.trace import build_tracer
from celery.concurrency.base import BasePool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.result import AsyncResult
from pydantic import BaseModel, ValidationError

from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.asynchronous.results import aresult
from entrypoints.celery.asynchronous.tasks import AsyncRequest, NotAwaitable, WouldDeadlock
from entrypoints.celery.typed import BlockedLoopWarning, CoroutineTask, TypedCelery, TypedTask

P = ParamSpec("P")
R = TypeVar("R")

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


def test_coroutines_that_a_task_leaves_running_belong_to_no_task(app: TypedCelery) -> None:
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
    class Double(CoroutineTask[[int], int]):
        name = "double"

        async def run(self, x: int) -> int:
            assert self.request.id
            return 2 * x

    double = app.register_task(Double())

    assert double.apply((2,)).get() == 4


# --- what can be awaited is awaited, however it is made ---


def traced(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate as most do: plainly."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return wrapper


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


class Doubling:
    """Is called like a function, and equals others, so that it has no hash."""

    __doc__ = "Double it."
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Doubling)

    async def __call__(self, x: int) -> int:
        return await double(x)


class Later:
    """Can be awaited, and is no coroutine."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __await__(self) -> Generator[Any, Any, int]:
        return double(self.x).__await__()


async def double_later(x: int) -> Any:
    return double(x)


WAYS: dict[str, Callable[[int], Any]] = {
    "decorated": traced(double),
    "partial": partial(double),
    "partial of decorated": partial(traced(double)),
    "lambda": lambda x: double(x),  # noqa: PLW0108  that it is one matters
    "object": Doubling(),
    "awaitable": Later,
    "method": Doubling().__call__,
    "coroutine of a coroutine": double_later,
    "coroutine of an awaitable": traced(lambda x: double_later(x)),  # noqa: PLW0108  as above
}


@pytest.mark.parametrize("ignore_result", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_the_awaitable_that_a_task_returns_is_awaited(
    app: TypedCelery, way: str, *, ignore_result: bool
) -> None:
    task = app.task(name=way, ignore_result=ignore_result)(WAYS[way])

    assert task(2) == 4
    assert task.apply((2,)).get() == 4
    with pytest.raises(TypeError, match="missing 1 required"):
        task.delay()  # type: ignore[call-arg]  # what is tested


@pytest.mark.parametrize("way", WAYS)
async def test_the_awaitable_that_a_task_returns_is_awaited_by_acall(
    app: TypedCelery, way: str
) -> None:
    task = app.task(name=way)(WAYS[way])

    assert await task.acall(2) == 4


def test_an_exception_of_a_decorated_task_is_retried(app: TypedCelery) -> None:
    attempts: list[int] = []

    @app.task(bind=True, autoretry_for=[ConnectionError], retry_kwargs={"countdown": 0})
    @traced
    async def reach(self: Task[..., Any]) -> int:
        await asyncio.sleep(0)
        attempts.append(self.request.retries)
        if len(attempts) < 3:
            raise ConnectionResetError
        return self.request.retries

    assert reach.apply().get() == 2
    assert attempts == [0, 1, 2]


def test_models_of_a_decorated_task_are_validated_and_dumped(app: TypedCelery) -> None:
    class Point(BaseModel):
        x: int

    @app.task(pydantic=True)
    @traced
    async def move(point: Point) -> Point:
        return Point(x=point.x + 1)

    assert move.apply(({"x": 1},)).get() == {"x": 2}


async def test_a_sync_task_that_acall_runs_may_call_an_async_one(app: TypedCelery) -> None:
    """What it calls is not what its caller awaits."""

    @app.task
    def outer() -> int:
        return inner(2) + 1

    inner = app.task(double)

    assert await outer.acall() == 5


def generate() -> Iterator[int]:
    yield 1


async def generate_asynchronously() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("generator", [generate, generate_asynchronously])
def test_generators_are_refused_where_they_are_defined(
    app: TypedCelery, generator: Callable[[], object]
) -> None:
    """They would never be iterated, so nothing of their body would run."""
    for function in (generator, partial(generator)):
        with pytest.raises(NotAwaitable, match="generator function"):
            app.task(function)
        with pytest.raises(NotAwaitable, match="generator function"):
            app.task(name="g")(function)
    with pytest.raises(NotAwaitable, match="generator function"):
        type("Class", (TypedTask,), {"run": generator})


@pytest.mark.parametrize("generator", [generate, generate_asynchronously])
def test_a_generator_that_a_task_returns_fails_it(
    app: TypedCelery, generator: Callable[[], object]
) -> None:
    async def asynchronous() -> object:
        return generator()

    for function in (traced(generator), asynchronous):
        task = app.task(name=f"hidden {function.__name__}", ignore_result=True)(function)

        with pytest.raises(NotAwaitable, match=r"hidden.* returned a generator"):
            task.apply().get()


def test_a_decorator_may_make_something_else_of_a_generator(app: TypedCelery) -> None:
    @app.task
    @lambda function: wraps(function)(lambda: [*function()])
    def collect() -> Iterator[int]:
        yield 1

    assert collect.apply().get() == [1]


# --- classes ---


class Greeter(CoroutineTask[[str], str]):
    name = "greet"

    async def run(self, word: str) -> str:
        await asyncio.sleep(0)
        return f"{word} from {self.request.id}"


class LoudGreeter(Greeter):
    name = "greet loudly"

    async def run(self, word: str) -> str:
        said, again = await asyncio.gather(super().run(word), super().run(word))
        assert said == again
        return said.upper()


async def test_an_async_class_awaits_what_it_overrides(app: TypedCelery) -> None:
    greeter = app.register_task(LoudGreeter())

    result = greeter.apply(("hello",))

    assert result.get() == f"HELLO FROM {result.id}".upper()
    assert await greeter.acall("hello") == "HELLO FROM NONE"
    assert await asyncio.to_thread(greeter, "hello") == "HELLO FROM NONE"


def test_a_bound_task_may_await_itself(app: TypedCelery) -> None:
    @app.task(bind=True)
    async def countdown(self: Any, n: int) -> int:
        return n and await self.run(n - 1)

    assert countdown.apply((3,)).get() == 0


def test_a_task_that_applies_itself_on_its_loop_gets_an_error(app: TypedCelery) -> None:
    @app.task(bind=True)
    async def again(self: Any, n: int) -> Any:
        return n and self.apply((n - 1,), throw=True).get()

    with pytest.raises(WouldDeadlock):
        again.apply((1,), throw=True)


# --- revoking ---


def a_request(task: Task[..., Any], message_id: str) -> AsyncRequest:
    """Return the message of a task that a process of the pool has begun."""
    request = AsyncRequest.__new__(AsyncRequest)
    vars(request).update(time_start=1.0, _announce_revoked=lambda *_: None)  # which needs a worker
    request._task, request.id = task, message_id  # type: ignore[attr-defined]
    return request


def test_a_supervisor_of_processes_gets_no_loop_by_revoking(app: TypedCelery) -> None:
    """Each later fork would copy it."""

    class Processes(BasePool):
        terminated: int | None = None

        def terminate_job(self, pid: int, signal: int | None = None) -> None:
            self.terminated = signal

    @app.task
    def work() -> None: ...

    pool = Processes()
    a_request(work, "1").terminate(pool, signal=10)

    assert pool.terminated == 10
    assert process_loop._thread is None


def test_in_a_pool_of_threads_what_a_decorated_task_awaits_is_interrupted(app: TypedCelery) -> None:
    begun = threading.Event()

    @app.task
    @traced
    async def work() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except SoftTimeLimitExceeded:
            return "revoked"
        return ""

    # What it returns is known to be awaited only once it runs.
    vars(work.run)["is_async"] = False
    pool = ThreadPool(limit=1)
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(work.apply, task_id="r-1")
        assert begun.wait(5)
        a_request(work, "r-1").terminate(pool, signal=10)
        assert result.result(5).get() == "revoked"
    pool.on_stop()


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


def test_messages_published_by_acall_descend_from_the_executed_one(app: TypedCelery) -> None:
    @app.task
    async def publish() -> None:
        await child.adelay()

    @app.task
    async def child() -> None: ...

    @app.task(bind=True)
    async def outer(self: Task[..., Any]) -> list[str]:
        await publish.acall()
        return [result.id for result in self.request.children]  # type: ignore[attr-defined]  # celery-types says str

    assert len(outer.apply().get()) == 1


# --- publishing from a coroutine ---


async def test_adelay_publishes_and_the_loop_goes_on(app: TypedCelery) -> None:
    """However long the broker takes to answer."""
    published, turns = threading.Event(), 0

    class SlowTask(TypedTask[P, R]):
        def apply_async(self, *args: Any, **options: Any) -> AsyncResult[R]:
            assert published.wait(5)
            return super().apply_async(*args, **options)

    @app.task(base=SlowTask)
    async def work(x: int) -> int:
        return x

    async def turn() -> None:
        nonlocal turns
        while turns < 3:
            await asyncio.sleep(0.001)
            turns += 1
        published.set()

    results = await asyncio.gather(work.adelay(1), work.options(queue="other").adelay(x=2), turn())

    assert turns == 3
    assert all(isinstance(result, AsyncResult) for result in results[:2])
    with pytest.raises(TypeError, match="missing 1 required"):
        await work.adelay()  # type: ignore[call-arg]  # what is tested


async def test_adelay_runs_eager_tasks(app: TypedCelery) -> None:
    app.conf.task_always_eager = True

    @app.task
    async def inner() -> int:
        return 1

    @app.task
    async def outer() -> int:
        return await aresult(await inner.adelay())

    assert await aresult(await outer.adelay()) == 1


async def test_a_message_that_is_published_on_a_loop_warns_once(app: TypedCelery) -> None:
    @app.task
    def work() -> None: ...

    with pytest.warns(BlockedLoopWarning, match="adelay"):
        work.delay()
    work.delay()


def test_a_retry_and_what_no_coroutine_publishes_do_not_warn(app: TypedCelery) -> None:
    @app.task(bind=True, queue="retried")
    async def work(self: Task[..., Any]) -> None:
        raise self.retry(countdown=0)

    work.delay()
    trace = build_tracer(work.name, work, app=app)
    traced = trace("1", [], {}, {"id": "1", "is_eager": False})
    assert traced.info is not None
    assert traced.info.state == "RETRY"


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
    never_run: AsyncResult[int] = AsyncResult("1", app=app)

    with pytest.raises(TimeoutError):
        await aresult(never_run, timeout=0.02)
