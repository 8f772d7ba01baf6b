"""Portico's Celery application: what Celery is told, which tasks the API learns of, and which messages are runs."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from ssl import CERT_NONE, CERT_REQUIRED
from typing import Any
from uuid import UUID

import pytest
from celery import states

from adapters.memory.scheduling.runs import MemoryRunLog
from adapters.memory.store import MemoryStore
from application.settings import JobSettings, RedisSettings, Settings, WorkerPool
from application.use_cases.scheduling.recording import RunRecorder
from domain.scheduling.runs import Run, RunId, RunState
from domain.scheduling.signatures import Parameter, ParameterKind
from domain.scheduling.slots import PeriodicTaskId
from entrypoints.celery.app import app as portico
from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.catalogue import registered_tasks
from entrypoints.celery.configuration import configuration
from entrypoints.celery.headers import SLOT_HEADER, TASK_HEADER
from entrypoints.celery.recording import RecordedTask, recorder
from entrypoints.celery.typed import TypedCelery
from tests.fakes.builders import A_MOMENT
from tests.fakes.clock import MovableClock

TASK = PeriodicTaskId(UUID(int=1))
RUN = RunId(UUID(int=2))
HEADERS = {TASK_HEADER: str(TASK), SLOT_HEADER: A_MOMENT.isoformat()}


@pytest.fixture
def app() -> Iterator[TypedCelery]:
    app = TypedCelery(
        "test",
        broker="memory://",
        backend="cache+memory://",
        set_as_current=False,
        task_cls=f"{RecordedTask.__module__}:{RecordedTask.__name__}",
    )
    yield app
    app.close()
    process_loop.stop()


# --- configuration ------------------------------------------------------------------------------

REDIS = Settings(redis=RedisSettings(url="redis://redis:6379/0"))


def with_jobs(**jobs: Any) -> dict[str, Any]:
    return configuration(replace(REDIS, jobs=JobSettings(**jobs)))


def test_broker_and_results_are_where_everything_else_is_under_keys_of_their_own() -> None:
    told = configuration(REDIS)

    assert told["broker_url"] == told["result_backend"] == "redis://redis:6379/0"
    assert told["broker_transport_options"]["global_keyprefix"] == "portico:jobs:"
    assert told["result_backend_transport_options"]["global_keyprefix"] == "portico:jobs:"


def test_rabbitmq_is_an_address() -> None:
    told = with_jobs(broker_url="amqp://rabbit:5672//")

    assert told["broker_url"] == "amqp://rabbit:5672//"
    assert told["result_backend"] == "redis://redis:6379/0"
    assert "global_keyprefix" not in told["broker_transport_options"]


def test_encrypted_connections_are_to_whom_they_claim_to_be() -> None:
    told = with_jobs(broker_url="amqps://rabbit", result_url="rediss://redis")

    assert told["broker_use_ssl"] == {"cert_reqs": CERT_REQUIRED, "server_hostname": "rabbit"}
    assert told["redis_backend_use_ssl"] == {"ssl_cert_reqs": CERT_REQUIRED}
    assert configuration(REDIS)["broker_use_ssl"] is None


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        (
            "ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
            {
                "cert_reqs": CERT_REQUIRED,
                "server_hostname": "rabbit",
                "ca_certs": "/ca.pem",
                "certfile": "/c.pem",
                "keyfile": "/k.pem",
            },
        ),
        ("ssl_check_hostname=false", {"cert_reqs": CERT_REQUIRED}),
        ("ssl_cert_reqs=none&ssl_check_hostname=true", {"cert_reqs": CERT_NONE}),
    ],
)
def test_what_an_address_of_rabbitmq_says_about_certificates_counts(
    parameters: str, told: dict[str, object]
) -> None:
    configured = with_jobs(broker_url=f"amqps://u:p@rabbit:5671//?{parameters}&heartbeat=20")

    assert configured["broker_use_ssl"] == told
    assert configured["broker_url"] == "amqps://u:p@rabbit:5671//?heartbeat=20"


def test_messages_are_data() -> None:
    told = configuration(REDIS)

    assert told["accept_content"] == [told["task_serializer"]] == ["json"]


def test_no_message_comes_back_while_its_task_may_run() -> None:
    told = configuration(REDIS)

    assert told["broker_transport_options"]["visibility_timeout"] > told["task_time_limit"]


def test_a_worker_is_as_large_as_said_and_knows_the_tasks_of_others() -> None:
    told = with_jobs(pool=WorkerPool.THREADS, concurrency=7, task_modules=("shop.tasks",))

    assert (told["worker_pool"], told["worker_concurrency"]) == ("threads", 7)
    assert told["include"] == ["entrypoints.celery.tasks", "shop.tasks"]
    assert configuration(REDIS)["worker_concurrency"] == "auto"


def test_every_task_can_have_a_limit_of_its_own(app: TypedCelery) -> None:
    """Celery refuses a soft limit beyond the hard one, wherever either comes from."""
    app.conf.update(configuration(REDIS), broker_url="memory://", result_backend=None)

    @app.task(time_limit=1)
    def hang() -> None: ...

    assert hang.delay().id


# --- catalogue ----------------------------------------------------------------------------------


def test_the_api_learns_what_tasks_take(app: TypedCelery) -> None:
    @app.task(name="shop.remind", bind=True, autoretry_for=(OSError,))
    async def remind(self: Any, to: "str", *, politely: bool = True) -> None:
        """Remind somebody.

        More of it.
        """

    @app.task(name="shop.anything", typing=False)
    def anything(*args: int, **kwargs: object) -> None: ...

    loose, strict = registered_tasks(app)

    assert (strict.name, strict.description) == ("shop.remind", "Remind somebody.\n\nMore of it.")
    assert strict.parameters == (
        Parameter(name="to", annotation="str"),
        Parameter(
            name="politely", kind=ParameterKind.KEYWORD_ONLY, required=False, annotation="bool"
        ),
    )
    assert loose.accepts_anything
    assert not strict.accepts_anything


# --- runs ---------------------------------------------------------------------------------------


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """Return a store whose run is published; what a worker notes goes there."""
    store = MemoryStore()
    store.runs[RUN] = Run(id=RUN, task_id=TASK, scheduled_for=A_MOMENT, state=RunState.PUBLISHED)
    recording = RunRecorder(MemoryRunLog(store), MovableClock(), settle=0)
    with recorder.replaced(recording):
        yield store


def flush(app: TypedCelery) -> None:
    """Let the recorder note what it has to."""

    @app.task
    async def note_all() -> None:
        await (await recorder())._note_all()

    note_all()


def test_the_message_of_a_run_is_noted(app: TypedCelery, store: MemoryStore) -> None:
    @app.task(time_limit=60)
    def work() -> RunState:
        return store.runs[RUN].state

    during = work.apply(headers=HEADERS, task_id=str(RUN)).get()
    flush(app)

    assert during is RunState.STARTED
    run = store.runs[RUN]
    assert run.state is RunState.SUCCEEDED
    assert run.started_at is not None
    assert run.lapses_at == run.started_at + timedelta(seconds=60)


def test_what_a_run_raises_is_noted(app: TypedCelery, store: MemoryStore) -> None:
    @app.task
    async def work() -> None:
        raise ValueError("no\0 " + "x" * 5000)

    work.apply(headers=HEADERS, task_id=str(RUN))
    flush(app)

    run = store.runs[RUN]
    assert run.state is RunState.FAILED
    assert run.error.startswith("ValueError: no\ufffd x")
    assert len(run.error) == 2000


def test_a_run_that_has_begun_is_ignored(app: TypedCelery, store: MemoryStore) -> None:
    done = []

    @app.task
    def work() -> None:
        done.append(1)

    results = [work.apply(headers=HEADERS, task_id=str(RUN)) for _ in range(2)]

    assert done == [1]
    assert [result.state for result in results] == [states.SUCCESS, states.IGNORED]


def test_a_run_that_is_tried_again_begins_again_and_ends_once(
    app: TypedCelery, store: MemoryStore
) -> None:
    attempts: list[RunState] = []

    @app.task(bind=True, max_retries=2, default_retry_delay=0)
    def work(self: RecordedTask[[], None]) -> None:
        attempts.append(store.runs[RUN].state)
        if len(attempts) < 2:
            raise self.retry()

    work.apply(headers=HEADERS, task_id=str(RUN))
    flush(app)

    assert attempts == [RunState.STARTED, RunState.STARTED]
    assert store.runs[RUN].state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {TASK_HEADER: "x", SLOT_HEADER: A_MOMENT.isoformat()},
        {TASK_HEADER: str(TASK)},
        {TASK_HEADER: str(TASK), SLOT_HEADER: "yesterday"},
        {TASK_HEADER: 1, SLOT_HEADER: 2},
    ],
)
def test_every_other_message_is_no_run(
    app: TypedCelery, store: MemoryStore, headers: dict[str, Any]
) -> None:
    @app.task
    def work() -> int:
        return 1

    assert work.apply(headers=headers, task_id=str(RUN)).get() == 1
    flush(app)

    assert store.runs[RUN].state is RunState.PUBLISHED


# --- what workers tell of themselves ------------------------------------------------------------


def test_what_a_worker_tells_monitors_never_keeps_it_from_ending(app: TypedCelery) -> None:
    """Without a broker Celery would go on telling its heartbeat, and hold the lock that its end needs."""
    retries: list[bool] = []

    class NoBroker:
        def publish(self, *_: object, retry: bool, **__: object) -> None:
            retries.append(retry)
            raise ConnectionError

    told = TypedCelery("lonely", events=portico.events_cls, set_as_current=False).events.Dispatcher(
        app.connection_for_write(), hostname="worker@here", enabled=False
    )
    told.producer, told.enabled = NoBroker(), True

    told.send("worker-heartbeat", retry=True)

    assert retries == [False]
    assert [event["type"] for event, _ in told._outbound_buffer] == ["worker-heartbeat"]
