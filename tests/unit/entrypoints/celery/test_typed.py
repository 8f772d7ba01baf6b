"""What `TypedCelery` does at run time; what type checkers make of it is in `tests/typing`."""

import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from celery import Task

from entrypoints.celery.typed import LongDelayWarning, TypedCelery

DAY = 24 * 60 * 60


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[TypedCelery]:
    # Queues in memory are shared by all applications of the process, hence their names.
    app = TypedCelery(
        "test",
        broker="memory://",
        backend="cache+memory://",
        set_as_current=False,
        task_default_queue=request.node.nodeid,
    )
    yield app
    app.close()


def received(app: TypedCelery, queue: str) -> dict[str, Any]:
    """Take one message from a queue; return its headers and properties."""
    with app.connection_for_read() as connection, connection.SimpleQueue(queue) as messages:
        message = messages.get(timeout=5)
        message.ack()
        return {**message.properties, **message.headers}


# --- configuration ---


def test_a_configuration_that_cannot_be_had_is_asked_for_again(app: TypedCelery) -> None:
    """Instead, Celery would go on with its own: another broker, and other queues."""
    is_known = False

    def configuration() -> dict[str, Any]:
        if not is_known:
            raise LookupError("no settings")
        return {"broker_url": "memory://", "task_default_queue": "known"}

    app = TypedCelery("lost", set_as_current=False)
    app.add_defaults(configuration)

    @app.task
    def work() -> None: ...

    for _ in range(2):
        with pytest.raises(LookupError, match="no settings"):
            _ = app.conf.broker_url
        with pytest.raises(LookupError, match="no settings"):
            work.delay()
        with pytest.raises(LookupError, match="no settings"):
            app.send_task("another")
    is_known = True
    assert (app.conf.broker_url, app.conf.task_default_queue) == ("memory://", "known")
    work.delay()
    assert received(app, "known")["task"] == work.name


# --- options ---


def test_options_missing_from_a_decorator_come_from_the_configuration(app: TypedCelery) -> None:
    app.conf.update(
        task_acks_late=True,
        task_track_started=True,
        task_ignore_result=True,
        task_default_priority=7,
        task_soft_time_limit=30,
        task_default_rate_limit="5/s",
    )

    @app.task(max_retries=9)
    async def work() -> None: ...

    assert work.max_retries == 9
    assert (work.acks_late, work.track_started, work.ignore_result) == (True, True, True)
    assert (work.priority, work.soft_time_limit, work.rate_limit) == (7, 30, "5/s")


def test_options_of_a_decorator_win_over_the_configuration(app: TypedCelery) -> None:
    app.conf.update(task_acks_late=True, task_soft_time_limit=30)

    @app.task(acks_late=False, soft_time_limit=1.5)
    def work() -> None: ...

    assert (work.acks_late, work.soft_time_limit) == (False, 1.5)


def test_a_message_says_only_what_was_said(app: TypedCelery) -> None:
    app.conf.update(task_default_priority=7, task_soft_time_limit=30)

    @app.task
    async def work(x: int) -> None: ...

    result = work.options(countdown=60).delay(1)
    message = received(app, app.conf.task_default_queue)

    assert message["id"] == result.id
    assert message["priority"] == 7
    assert message["timelimit"] == [None, 30]
    assert message["eta"] is not None
    assert message["expires"] is None


def test_a_message_may_say_otherwise(app: TypedCelery) -> None:
    @app.task(queue="slow", priority=1, soft_time_limit=30)
    async def work() -> None: ...

    work.options(queue="fast", priority=2, soft_time_limit=3, headers={"tenant": "t-1"}).delay()
    message = received(app, "fast")

    assert message["priority"] == 2
    assert message["timelimit"] == [None, 3]
    assert message["tenant"] == "t-1"


def test_the_queue_of_a_task_takes_its_messages_however_they_are_sent(app: TypedCelery) -> None:
    @app.task(queue="mail", priority=3, name="send")
    async def send() -> None: ...

    ids = [send.delay().id, send.s().delay().id, send.apply_async().id, app.send_task("send").id]
    messages = [received(app, "mail") for _ in ids]

    assert [message["id"] for message in messages] == ids
    assert {message["priority"] for message in messages} == {3}


def test_a_task_belongs_to_the_application_that_made_it(app: TypedCelery) -> None:
    other = TypedCelery("other", broker="memory://", set_as_current=False)

    @app.task(name="work")
    async def work() -> None: ...

    @other.task(name="work")
    async def other_work() -> None: ...

    assert work.app is app
    assert other_work.app is other
    assert "work" in app.tasks


def test_a_task_may_have_a_base_class_of_its_own(app: TypedCelery) -> None:
    class Tagged(app.Task):  # type: ignore[misc, name-defined]  # made at run time
        tag = "t-1"

    @app.task(base=Tagged, bind=True)
    async def work(self: Task[..., Any]) -> str:
        return f"{getattr(self, 'tag', None)} {bool(UUID(self.request.id))}"

    assert work.apply().get() == "t-1 True"


# --- long delays ---


def test_a_long_delay_is_warned_of_once_per_task(app: TypedCelery) -> None:
    @app.task
    async def remind() -> None: ...

    @app.task
    async def remind_again() -> None: ...

    with pytest.warns(LongDelayWarning, match=r"remind is published 1 day, .* a periodic task"):
        remind.options(countdown=DAY).delay()
    remind.options(countdown=DAY).delay()

    with pytest.warns(LongDelayWarning, match=r"remind_again is published"):
        remind_again.apply_async(eta=app.now() + timedelta(days=1))


def test_an_hour_is_not_long(app: TypedCelery) -> None:
    @app.task
    async def remind() -> None: ...

    remind.options(countdown=60 * 60).delay()
    remind.options(eta=app.now() + timedelta(hours=1)).delay()
    remind.delay()


def test_the_warning_can_be_silenced_for_a_task(app: TypedCelery) -> None:
    @app.task(longest_delay=timedelta(days=2))
    async def remind() -> None: ...

    @app.task(longest_delay=None)
    async def remind_some_day() -> None: ...

    remind.options(countdown=DAY).delay()
    remind_some_day.options(countdown=1000 * DAY).delay()


def test_the_warning_can_be_silenced_for_all(app: TypedCelery) -> None:
    @app.task
    async def remind() -> None: ...

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LongDelayWarning)
        remind.options(countdown=DAY).delay()
