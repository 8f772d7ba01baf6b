"""Portico's Celery application: its configuration, the tasks that the API learns of, and messages that are runs."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ssl import CERT_NONE, CERT_REQUIRED
from typing import Any
from uuid import UUID

import pytest
from celery import Task, states
from celery.app.trace import build_tracer, trace_ok_t
from celery.backends.base import KeyValueStoreBackend
from celery.exceptions import Ignore, Reject, WorkerShutdown
from celery.result import AsyncResult

from adapters.memory.scheduling.task_runs import MemoryRunLog
from adapters.memory.store import MemoryStore
from application.settings import JobSettings, RedisSettings, Settings, WorkerPool
from application.use_cases.scheduling.recording import RunRecorder
from domain.scheduling.registered_tasks import Parameter, ParameterKind
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState
from entrypoints.celery.app import app as portico
from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.asynchronous.resources import Resource
from entrypoints.celery.asynchronous.stacks import Execution
from entrypoints.celery.catalogue import registered_tasks
from entrypoints.celery.configuration import configuration
from entrypoints.celery.headers import SLOT_HEADER, TASK_HEADER
from entrypoints.celery.recording import RecordedTask, recorder
from entrypoints.celery.typed import TypedCelery, TypedTask
from tests.support.builders import A_MOMENT
from tests.support.clock import MovableClock

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
    configured = configuration(REDIS)

    assert configured["broker_url"] == configured["result_backend"] == "redis://redis:6379/0"
    assert configured["broker_transport_options"]["global_keyprefix"] == "portico:jobs:"
    assert configured["result_backend_transport_options"]["global_keyprefix"] == "portico:jobs:"


def test_rabbitmq_is_an_address() -> None:
    configured = with_jobs(broker_url="amqp://rabbit:5672//")

    assert configured["broker_url"] == "amqp://rabbit:5672//"
    assert configured["result_backend"] == "redis://redis:6379/0"
    assert "global_keyprefix" not in configured["broker_transport_options"]


def test_encrypted_connections_are_to_whom_they_claim_to_be() -> None:
    configured = with_jobs(broker_url="amqps://rabbit", result_url="rediss://redis")

    assert configured["broker_use_ssl"] == {"cert_reqs": CERT_REQUIRED, "server_hostname": "rabbit"}
    assert configured["redis_backend_use_ssl"] == {"ssl_cert_reqs": CERT_REQUIRED}
    assert configuration(REDIS)["broker_use_ssl"] is None


@pytest.mark.parametrize(
    ("parameters", "tls"),
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
def test_certificate_parameters_of_a_rabbitmq_url_count(
    parameters: str, tls: dict[str, object]
) -> None:
    configured = with_jobs(broker_url=f"amqps://u:p@rabbit:5671//?{parameters}&heartbeat=20")

    assert configured["broker_use_ssl"] == tls
    assert configured["broker_url"] == "amqps://u:p@rabbit:5671//?heartbeat=20"


def test_messages_are_data() -> None:
    configured = configuration(REDIS)

    assert configured["accept_content"] == [configured["task_serializer"]] == ["json"]


def test_no_message_comes_back_while_its_task_may_run() -> None:
    configured = configuration(REDIS)

    assert (
        configured["broker_transport_options"]["visibility_timeout"] > configured["task_time_limit"]
    )


def test_a_worker_is_as_large_as_said_and_knows_the_tasks_of_others() -> None:
    configured = with_jobs(
        worker_pool=WorkerPool.THREADS, worker_concurrency=7, task_modules=("shop.tasks",)
    )

    assert (configured["worker_pool"], configured["worker_concurrency"]) == ("threads", 7)
    assert configured["include"] == ["entrypoints.celery.tasks", "shop.tasks"]
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
    assert loose.parameters == (
        Parameter(name="args", kind=ParameterKind.VAR_POSITIONAL, required=False, annotation="int"),
        Parameter(
            name="kwargs", kind=ParameterKind.VAR_KEYWORD, required=False, annotation="object"
        ),
    )
    assert loose.accepts_anything
    assert not strict.accepts_anything


# --- runs ---------------------------------------------------------------------------------------


@pytest.fixture
def store(app: TypedCelery) -> Iterator[MemoryStore]:
    """Return a store whose run is published; what a worker notes goes there."""
    AsyncResult(str(RUN), app=app).forget()
    store = MemoryStore()
    store.runs[RUN] = Run(id=RUN, task_id=TASK, scheduled_for=A_MOMENT, state=RunState.PUBLISHED)
    recording = RunRecorder(MemoryRunLog(store), MovableClock(), gather=0)
    with recorder.replaced(recording):
        yield store


def flush() -> None:
    """Let the recorder note what it has to."""

    async def note_all() -> None:
        await (await recorder())._record_all()

    process_loop.thread().run(note_all(), Execution())


def deliver(task: Task[..., Any], headers: Mapping[str, Any] = HEADERS, **more: Any) -> trace_ok_t:
    """Do what a process of a pool does with the message of the run."""
    message = {"id": str(RUN), "task": task.name, "is_eager": False, **headers, **more}
    task.__trace__ = build_tracer(task.name, task, app=task.app)
    traced: trace_ok_t = task.__trace__(str(RUN), [], {}, message)
    return traced


def ended(store: MemoryStore) -> tuple[RunState, str]:
    flush()
    return store.runs[RUN].state, store.runs[RUN].error


def test_the_message_of_a_run_is_recorded(app: TypedCelery, store: MemoryStore) -> None:
    during: list[RunState] = []

    @app.task(time_limit=60)
    def work() -> None:
        during.append(store.runs[RUN].state)

    deliver(work)

    assert during == [RunState.STARTED]
    assert ended(store) == (RunState.SUCCEEDED, "")
    run = store.runs[RUN]
    assert run.started_at is not None
    assert run.deadline == run.started_at + timedelta(seconds=60)


def test_the_error_of_a_run_is_recorded(app: TypedCelery, store: MemoryStore) -> None:
    @app.task
    async def work() -> None:
        raise ValueError("no\0 " + "x" * 5000)

    deliver(work)

    state, error = ended(store)
    assert state is RunState.FAILED
    assert error.startswith("ValueError: no\ufffd x")
    assert len(error) == 2000


class Wordless(Exception):
    def __str__(self) -> str:
        return str(self.response.status)  # type: ignore[attr-defined]  # as in a library

    __repr__ = __str__


class NotEvenText(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307  as in another


ODD_ENDS = [
    pytest.param(Wordless(), "Wordless, whose text cannot be had (AttributeError)", id="str fails"),
    pytest.param(NotEvenText(), "NotEvenText, whose text cannot be had (TypeError)", id="no text"),
    pytest.param(GeneratorExit("no"), "GeneratorExit: no", id="GeneratorExit"),
    pytest.param(
        BaseExceptionGroup("two", [GeneratorExit(), ValueError()]),
        "BaseExceptionGroup: two (2 sub-exceptions)",
        id="BaseExceptionGroup",
    ),
    pytest.param(ExceptionGroup("one", [ValueError()]), "ExceptionGroup: one", id="ExceptionGroup"),
    pytest.param(asyncio.CancelledError("no"), "CancelledError", id="CancelledError"),
    pytest.param(MemoryError("no"), "MemoryError: no", id="MemoryError"),
]


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize(("error", "noted"), ODD_ENDS)
def test_any_error_of_a_run_is_recorded_and_its_message_has_failed(
    app: TypedCelery, store: MemoryStore, error: BaseException, noted: str, *, is_async: bool
) -> None:
    if is_async:

        @app.task
        async def work() -> None:
            raise error
    else:

        @app.task
        def work() -> None:
            raise error

    failed = deliver(work)

    assert failed.info is not None
    assert failed.info.state == states.FAILURE
    state, words = ended(store)
    assert (state, words.startswith(noted)) == (RunState.FAILED, True), words
    assert AsyncResult(str(RUN), app=app).state == states.FAILURE


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("error", [KeyboardInterrupt("no"), SystemExit(1)])
def test_an_exception_that_would_end_a_worker_without_prefork_is_a_failure(
    app: TypedCelery, store: MemoryStore, error: BaseException, *, is_async: bool
) -> None:
    """Threads cannot end it, and lose the message; solo would take the worker down."""

    async def asynchronously() -> None:
        raise error

    def synchronously() -> None:
        raise error

    work = app.task(asynchronously if is_async else synchronously)

    failed = deliver(work)

    assert failed.info is not None
    assert failed.info.state == states.FAILURE
    assert isinstance(failed.info.retval, RuntimeError)
    state, words = ended(store)
    assert state is RunState.FAILED
    assert f"{type(error).__name__}: {error}" in words


def test_a_signal_that_ends_the_worker_ends_it(app: TypedCelery, store: MemoryStore) -> None:
    @app.task
    def work() -> None:
        raise WorkerShutdown(0)

    with pytest.raises(WorkerShutdown):
        deliver(work)

    assert ended(store) == (RunState.FAILED, "WorkerShutdown: 0")


@pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")
@pytest.mark.parametrize("fails", [False, True])
def test_an_end_is_recorded_although_the_result_store_is_away(
    app: TypedCelery, store: MemoryStore, *, fails: bool
) -> None:
    class Away(KeyValueStoreBackend):
        def set(self, key: object, value: object) -> None:
            raise OSError("the result store is away")

        def get(self, key: object) -> None:
            raise OSError("the result store is away")

    @app.task
    def work() -> None:
        if fails:
            raise ValueError("no")

    work.backend = Away(app=app)

    failed = deliver(work)

    assert failed.info is not None
    assert failed.info.state == states.FAILURE
    state, error = ended(store)
    assert state is RunState.FAILED
    assert error.startswith("what it returned or raised could not be stored: OSError: the result")


def test_an_end_is_recorded_once_whether_its_result_can_be_stored_or_not(
    app: TypedCelery, store: MemoryStore
) -> None:
    @app.task
    def work() -> object:
        return object()

    deliver(work)

    state, error = ended(store)
    assert (state, error.split(":")[0]) == (RunState.FAILED, "EncodeError")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Ignore(), RunState.SUCCEEDED),
        (Reject("no", requeue=False), RunState.FAILED),
        (Reject("later", requeue=True), RunState.STARTED),
    ],
)
def test_a_message_without_a_result_has_ended_unless_it_comes_back(
    app: TypedCelery, store: MemoryStore, error: Exception, state: RunState
) -> None:
    @app.task
    def work() -> None:
        raise error

    deliver(work)

    assert ended(store)[0] is state


def test_a_run_that_has_begun_is_ignored(app: TypedCelery, store: MemoryStore) -> None:
    done = []

    @app.task
    def work() -> None:
        done.append(1)

    first, second = deliver(work), deliver(work)

    assert done == [1]
    assert first.info is None
    assert second.info is not None
    assert second.info.state == states.IGNORED
    assert ended(store) == (RunState.SUCCEEDED, "")


def test_a_run_that_is_tried_again_begins_again_and_ends_once(
    app: TypedCelery, store: MemoryStore
) -> None:
    attempts: list[RunState] = []

    @app.task(bind=True, max_retries=2, default_retry_delay=0)
    def work(self: RecordedTask[[], None]) -> None:
        attempts.append(store.runs[RUN].state)
        if len(attempts) < 2:
            raise self.retry()

    deliver(work)
    assert ended(store) == (RunState.STARTED, "")
    deliver(work, retries=1)

    assert attempts == [RunState.STARTED, RunState.STARTED]
    assert ended(store) == (RunState.SUCCEEDED, "")


def test_headers_of_a_task_s_own_do_not_hide_the_run_nor_from_its_retry(
    app: TypedCelery, store: MemoryStore
) -> None:
    """What people write so that `self.request.headers` are theirs (celery#4875)."""
    seen: list[Any] = []

    @app.task(bind=True, default_retry_delay=0, queue="with-headers")
    def work(self: RecordedTask[[], None]) -> None:
        seen.append(self.request.headers)
        if not self.request.retries:
            raise self.retry()

    deliver(work, {**HEADERS, "headers": {"tenant": "a"}})
    with app.connection_for_read() as connection:
        retried = connection.SimpleQueue("with-headers").get_nowait()
    assert ended(store)[0] is RunState.STARTED
    deliver(work, dict(retried.headers))

    assert seen[0] == {"tenant": "a"}
    assert seen[1]["tenant"] == "a"
    assert ended(store)[0] is RunState.SUCCEEDED


class OfTypedTask(TypedTask[..., Any]):
    """Derives from what the type of `base` asks for."""

    def shout(self, word: str) -> str:
        return word.upper()


class OfCelerysTask(Task[..., Any]):
    """Derives from what Celery's manual says, and has hooks that do not call the original."""

    def before_start(self, *_: object) -> None: ...

    def after_return(self, *_: object) -> None: ...

    def shout(self, word: str) -> str:
        return word.upper()


class AsyncClass(Task[..., Any]):
    name = "async class"

    async def run(self) -> str:
        await asyncio.sleep(0)
        return str(self.request.id)


@pytest.mark.parametrize("base", [OfTypedTask, OfCelerysTask, Task])
def test_a_base_of_its_own_does_not_hide_the_runs_of_a_task(
    app: TypedCelery, store: MemoryStore, base: Any
) -> None:
    done = []

    @app.task(base=base, bind=True)
    async def work(self: Any) -> None:
        await asyncio.sleep(0)
        done.append(self.request.id)

    for _ in range(2):
        deliver(work)

    assert isinstance(work, base)
    assert base is Task or work.shout("a") == "A"
    assert done == [str(RUN)]
    assert ended(store)[0] is RunState.SUCCEEDED


@pytest.mark.parametrize("is_instance", [True, False])
def test_a_class_of_its_own_does_not_hide_its_runs(
    app: TypedCelery, store: MemoryStore, *, is_instance: bool
) -> None:
    work = app.register_task(AsyncClass() if is_instance else AsyncClass)

    deliver(work)

    assert isinstance(work, AsyncClass)
    assert ended(store)[0] is RunState.SUCCEEDED
    assert AsyncResult(str(RUN), app=app).get(timeout=1) == str(RUN)


def test_an_end_is_recorded_by_a_process_that_exits_at_once(app: TypedCelery) -> None:
    """As the children that `--max-tasks-per-child` recycles do, and the last of a worker that is stopped."""
    store = MemoryStore()
    store.runs[RUN] = Run(id=RUN, task_id=TASK, scheduled_for=A_MOMENT, state=RunState.PUBLISHED)
    noted = MemoryRunLog(store)

    @Resource
    @asynccontextmanager
    async def own_recorder() -> AsyncIterator[RunRecorder]:
        await asyncio.sleep(0.05)  # so long that it opens only when the process goes
        async with RunRecorder(noted, MovableClock(), gather=60).running() as running:
            yield running

    async def finish() -> None:
        (await own_recorder()).finish(RUN)

    process_loop.thread().start(finish())
    process_loop.stop()

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

    assert deliver(work, headers).retval == 1

    assert ended(store)[0] is RunState.PUBLISHED


# --- what workers tell of themselves ------------------------------------------------------------


def test_events_for_monitors_never_keep_a_worker_from_ending(app: TypedCelery) -> None:
    """Without a broker Celery would go on telling its heartbeat, and hold the lock that its end needs."""
    retries: list[bool] = []

    class NoBroker:
        def publish(self, *_: object, retry: bool, **__: object) -> None:
            retries.append(retry)
            raise ConnectionError

    dispatcher = TypedCelery(
        "lonely", events=portico.events_cls, set_as_current=False
    ).events.Dispatcher(app.connection_for_write(), hostname="worker@here", enabled=False)
    dispatcher.producer, dispatcher.enabled = NoBroker(), True

    dispatcher.send("worker-heartbeat", retry=True)

    assert retries == [False]
    assert [event["type"] for event, _ in dispatcher._outbound_buffer] == ["worker-heartbeat"]
