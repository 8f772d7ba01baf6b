"""`DatabaseScheduler` in Celery's hands: its ticks, its messages, signals, a broker that is not there."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest
from celery import Celery
from celery.beat import BeatLazyFunc, Service
from celery.result import task_join_will_block  # type: ignore[attr-defined]  # the stubs lack it
from redis import Redis

from adapters.system import SystemClock, Uuid7Generator
from application.settings import JobSettings, Settings
from bootstrap import Container
from domain.scheduling.firing import no_sun
from domain.scheduling.json_values import Json
from domain.scheduling.options import PublishingOptions
from domain.scheduling.schedules import Interval, Period
from entrypoints.celery import metrics
from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.beat_schedule import configured_id
from entrypoints.celery.process import container
from entrypoints.celery.scheduler import DatabaseScheduler
from tests.support.builders import a_periodic_task
from tests.support.clock import MovableClock
from tests.support.link import link_to
from tests.support.simulated_beat import ShakyBeatStore, SharedStore

T = TypeVar("T")

_numbers = count()


@pytest.fixture
def store() -> SharedStore:
    return SharedStore(cast("MovableClock", SystemClock()))


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("beats", broker="memory://", set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        enable_utc=True,
        timezone="UTC",
        task_default_queue=f"beats-{next(_numbers)}",  # all share what is in memory
    )

    @app.task(name="reports.send", shared=False)
    def send(*_: object, **__: object) -> None: ...

    yield app
    app.close()


@pytest.fixture
def opened(store: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let schedulers find settings, and a container that holds what tests need."""
    monkeypatch.setattr(metrics, "process_settings", Settings)
    beat_store = ShakyBeatStore(store)
    it = SimpleNamespace(
        settings=lambda: SimpleNamespace(jobs=JobSettings(), data_dir=tmp_path),
        clock=SystemClock,
        ids=Uuid7Generator,
        sun=lambda: no_sun,
        definition_feed=lambda: beat_store,
        leader_lease=lambda: beat_store,
        run_claims=lambda: beat_store,
    )
    with container.replaced(cast("Container", it)):
        yield
    process_loop.stop()


@pytest.fixture
def scheduler(app: Celery, opened: None) -> Iterator[DatabaseScheduler]:
    scheduler = DatabaseScheduler(app)
    yield scheduler
    scheduler.close()


def tick_until(scheduler: DatabaseScheduler, condition: Callable[[], bool]) -> None:
    """Do what beat's service does."""
    scheduler.max_interval = 0.01
    give_up_at = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < give_up_at
        interval = scheduler.tick()
        assert isinstance(interval, float)
        time.sleep(interval)


def messages(app: Celery, queue: str | None = None) -> list[Any]:
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        found = []
        while message := channel.basic_get(queue or app.conf.task_default_queue, no_ack=True):
            found.append(message)
        return found


def longest_of(*steps: Callable[[], object]) -> float:
    """Take the steps; return how many seconds the longest took."""
    moments = [time.monotonic()]
    for step in steps:
        step()
        moments.append(time.monotonic())
    return max(after - before for before, after in pairwise(moments))


@contextmanager
def in_a_thread(
    manager: AbstractAsyncContextManager[T],
) -> Iterator[tuple[T, Callable[[Coroutine[Any, Any, None]], None]]]:
    """Enter a context on an event loop of its own; return also what runs a coroutine there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    yield run(manager.__aenter__()), run
    run(manager.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def has_handed_over(store: SharedStore) -> bool:
    return store.lease is not None and store.lease.leads_until <= store.clock.now()


def a_task(store: SharedStore, **changes: Any) -> Any:
    task = a_periodic_task(
        created_at=store.clock.now(),
        task="reports.send",
        schedule=Interval(100, Period.MILLISECONDS),
        **changes,
    )
    store.define(task)
    return task


def test_a_message_is_the_one_that_celerys_own_beat_would_have_sent_and_says_which_run_it_is(
    store: SharedStore, app: Celery, opened: None
) -> None:
    task = a_task(store, args=[1], kwargs={"a": 2})
    scheduler = DatabaseScheduler(app)

    tick_until(scheduler, lambda: scheduler.engine.publisher.published > 0)
    scheduler.close()

    message = messages(app)[0]
    run = next(iter(store.runs.values()))
    assert message.headers["task"] == "reports.send"
    assert message.headers["id"] == str(run.id)
    assert message.headers["periodic_task"] == str(task.id)
    assert message.headers["scheduled_for"] == run.scheduled_for.isoformat()
    assert message.headers["celery_beat_task"] is True
    assert message.payload[:2] == [[1], {"a": 2}]


def test_functions_in_the_configuration_are_called_for_every_message(
    store: SharedStore, app: Celery, opened: None
) -> None:
    numbers = iter(range(100))
    other = f"{app.conf.task_default_queue}-other"
    app.conf.beat_schedule = {
        "counting": {
            "task": "not.known.here",
            "schedule": 0.1,
            "args": (BeatLazyFunc(lambda: next(numbers)),),
            "options": {"queue": other, "headers": {"tenant": "a"}},
        }
    }
    scheduler = DatabaseScheduler(app)

    tick_until(scheduler, lambda: scheduler.engine.publisher.published >= 2)
    scheduler.close()

    first, second, *_ = messages(app, other)
    assert (first.payload[0], second.payload[0]) == ([0], [1])
    assert first.headers["tenant"] == "a"
    assert first.headers["periodic_task"] == str(configured_id("counting"))


@pytest.mark.parametrize("where", ["database", "configuration"])
def test_nothing_that_a_task_says_about_publishing_makes_the_beat_wait(
    store: SharedStore, opened: None, redis_url: str, where: str
) -> None:
    options: dict[str, Json] = {
        "retry": True,
        "retry_policy": {"max_retries": 1000, "interval_start": 3600, "interval_max": 3600},
        "timeout": 3600,
        "confirm_timeout": 3600,
    }
    with in_a_thread(link_to(redis_url)) as (link, run):
        app = Celery("beats", broker=link.url(redis_url), set_as_current=False)
        app.conf.task_ignore_result = True
        if where == "database":
            a_task(store, options=PublishingOptions(options))
        else:
            app.conf.beat_schedule = {"odd": {"task": "odd", "schedule": 0.1, "options": options}}
        scheduler = DatabaseScheduler(app)
        tick_until(scheduler, lambda: scheduler.engine.publisher.published > 1)
        run(link.cut())
        longest = longest_of(
            lambda: tick_until(scheduler, lambda: scheduler.engine.publisher.pending > 2),
            scheduler.close,
        )
        app.close()

    assert longest < 5
    assert has_handed_over(store)


def test_a_result_store_that_is_away_holds_up_no_message(
    store: SharedStore, opened: None, app: Celery
) -> None:
    """Celery would subscribe to the result of each message, though the beat never waits for one."""
    app.conf.update(result_backend="redis://127.0.0.1:1/0", task_ignore_result=False)
    a_task(store)
    scheduler = DatabaseScheduler(app)

    longest = longest_of(
        lambda: tick_until(scheduler, lambda: scheduler.engine.publisher.published > 3)
    )
    scheduler.close()

    assert longest < 2
    assert {run.state.value for run in store.runs.values()} == {"published"}
    assert not task_join_will_block()


def test_a_changed_task_is_published_at_once_though_no_tick_ends(
    store: SharedStore, scheduler: DatabaseScheduler
) -> None:
    tick_until(scheduler, lambda: scheduler.engine.leads)
    start = time.monotonic()
    task = a_task(store)
    process_loop.thread().loop.call_soon_threadsafe(scheduler.engine.watcher.wake)

    while not store.slots(task.id):
        assert time.monotonic() - start < 1
        time.sleep(0.01)


def test_looking_at_the_scheduler_starts_nothing(app: Celery) -> None:
    """As `celery beat` does for its banner."""
    threads = threading.active_count()

    scheduler = DatabaseScheduler(app, lazy=True)

    assert "database" in scheduler.info
    assert scheduler.max_interval > 0
    scheduler.close()
    assert threading.active_count() == threads


def test_closing_publishes_the_claimed_runs_records_them_and_releases_the_lease(
    store: SharedStore, app: Celery, opened: None
) -> None:
    a_task(store)
    scheduler = DatabaseScheduler(app)
    tick_until(scheduler, lambda: scheduler.engine.publisher.published > 0)
    time.sleep(0.15)
    scheduler._call(scheduler.engine.claimer.step(), within=1)

    scheduler.close()

    states = {run.state.value for run in store.runs.values()}
    assert states == {"published"}
    assert len(messages(app)) == len(store.runs)
    assert has_handed_over(store)


def test_a_signal_waits_for_the_message_that_is_being_published(
    store: SharedStore, app: Celery, opened: None
) -> None:
    """The service of Celery runs as `celery beat` runs it; its handler closes the scheduler and raises."""
    published: list[str] = []
    ticks, signals = list[None](), list[None]()

    class Interrupted(DatabaseScheduler):
        def tick(self, *args: Any, **options: Any) -> float:
            ticks.append(None)
            return super().tick(*args, **options)

        def apply_async(self, entry: Any, producer: Any = None, *args: Any, **options: Any) -> Any:
            # Before the first tick the service is still being made, and has nothing to close.
            if ticks and not signals:
                signals.append(None)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)  # where an exception would come in the middle
            result = super().apply_async(entry, producer, *args, **options)
            published.append(entry.options["task_id"])
            return result

    a_task(store)
    service = Service(app, scheduler_cls=Interrupted, remote_control=False)  # type: ignore[call-arg]  # new in 5.7

    def handle(*_: object) -> None:
        service.sync()
        raise SystemExit

    before = signal.signal(signal.SIGTERM, handle)
    try:
        service.start()
    finally:
        signal.signal(signal.SIGTERM, before)

    assert len(messages(app)) == len(published) == len(store.runs)
    assert {run.state.value for run in store.runs.values()} == {"published"}
    assert has_handed_over(store)


def test_a_broker_that_is_not_there_holds_nothing_up_for_long(
    store: SharedStore, opened: None
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        app = Celery("beats", broker=f"redis://127.0.0.1:{port}/0", set_as_current=False)
        app.conf.task_ignore_result = True
        a_task(store)
        scheduler = DatabaseScheduler(app)
        tick_until(scheduler, lambda: scheduler.engine.publisher.pending > 2)
        longest = longest_of(*[scheduler.tick] * 20)
        assert scheduler.engine.publisher.published == 0
        start = time.monotonic()
        scheduler.close()
        closing = time.monotonic() - start
        app.close()

    assert longest < 1
    assert closing < 5
    assert has_handed_over(store)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"compression": "rar"}, "'rar'"),
        ({"serializer": "rar"}, "No encoder installed for rar"),
        ({"queue": "taken", "priority": 0}, "WRONGTYPE"),
    ],
    ids=["unknown compression", "unknown serializer", "queue that is none"],
)
def test_a_message_that_redis_cannot_take_holds_up_no_other(
    store: SharedStore, opened: None, redis_url: str, options: dict[str, Any], problem: str
) -> None:
    """As entries of the configuration may have it, whose options are never validated."""
    app = Celery("beats", broker=redis_url, set_as_current=False)
    app.conf.task_ignore_result = True
    app.conf.beat_schedule = {"odd": {"task": "odd", "schedule": 0.1, "options": options}}
    odd = configured_id("odd")
    with Redis.from_url(redis_url) as server:
        server.sadd("taken", "something else")
    good = a_task(store)
    scheduler = DatabaseScheduler(app)

    tick_until(scheduler, lambda: len(store.slots(good.id)) > 2 and len(store.slots(odd)) > 2)
    scheduler.close()
    app.close()

    assert scheduler.engine.publisher.pending == 0
    failed = [run for run in store.runs.values() if run.task_id == odd]
    assert failed
    assert all(problem in run.error for run in failed)


def test_a_beat_whose_event_loop_has_ended_ends(scheduler: DatabaseScheduler) -> None:
    scheduler._call(asyncio.sleep(0), within=1)
    process_loop.stop()

    with pytest.raises(RuntimeError, match="ended"):
        scheduler.tick()
    scheduler._is_open = False
