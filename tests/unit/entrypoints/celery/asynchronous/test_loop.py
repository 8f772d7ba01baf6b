"""The event loop of async tasks: how coroutines on it are interrupted, how it ends, and what is open on it."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest
from celery._state import get_current_task
from celery.exceptions import SoftTimeLimitExceeded

from entrypoints.celery.asynchronous.loop import EventLoopEnded, LoopThread, process_loop
from entrypoints.celery.asynchronous.resources import Resource
from entrypoints.celery.asynchronous.stacks import Execution
from entrypoints.celery.typed import TypedCelery


@pytest.fixture
def app() -> Iterator[TypedCelery]:
    app = TypedCelery("test", broker="memory://", backend="cache+memory://", set_as_current=False)
    yield app
    app.close()


@pytest.fixture(autouse=True)
def _loop_of_its_own() -> Iterator[None]:
    yield
    process_loop.stop()


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
            return "timed out"
        return "not timed out"

    with raising_on_sigusr1(SoftTimeLimitExceeded()):
        assert work() == "timed out"


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
    reported = [*reports.lines]  # the end of the loop may take longer than its patience, too
    thread.stop()

    assert reported == ["a coroutine still runs 0.01 s after it was cancelled"]


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
        "a coroutine still runs 0.01 s after it was cancelled",
        "the event loop still runs 0.01 s after it was stopped",
    ]
    let_go.set()


def test_a_message_that_was_revoked_before_its_coroutine_began_does_not_begin(
    app: TypedCelery,
) -> None:
    begun: list[int] = []

    @app.task
    async def work() -> None:
        begun.append(1)

    process_loop.thread().interrupt("revoked")

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


def test_coroutines_of_a_resource_do_not_belong_to_the_task_that_came_first(
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


def test_a_resource_that_fails_to_close_is_logged_and_the_others_are_closed(
    app: TypedCelery, journal: Journal, reports: Reports
) -> None:
    first = journal.resource("first")

    @Resource
    @asynccontextmanager
    async def second() -> AsyncIterator[str]:
        yield await first()
        raise ConnectionError("closing")

    @app.task
    async def use() -> str:
        return await second()

    assert use() == "first"
    process_loop.stop()

    assert journal.lines == ["open first", "close first"]
    assert [line.endswith("failed") for line in reports.lines] == [True]


def test_a_loop_that_was_stopped_begins_nothing() -> None:
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    thread = LoopThread()
    thread.stop()

    with pytest.raises(EventLoopEnded, match="had ended before"):
        thread.run(begin(), Execution())
    assert begun == []
