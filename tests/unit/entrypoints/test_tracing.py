"""One trace from a request to the task that it publishes, in spans and in log lines."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import structlog
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy.ext.asyncio import create_async_engine

import bootstrap
from adapters.observability import traces as adapter
from adapters.observability.logs import configure_logging
from adapters.observability.traces import Traces, trace_headers, trace_id
from application.setting_problems import UnsafeSettings
from application.settings import Environment
from entrypoints.api import create_api
from entrypoints.celery.process import measured
from entrypoints.celery.publisher import due_entry
from entrypoints.celery.tracing import task_context
from entrypoints.http.envelope import Envelope
from entrypoints.http.router import Router
from entrypoints.http.security import PublicRoute
from entrypoints.http.tracing import TracedApp
from entrypoints.realtime.security import PublicEvent
from entrypoints.socketio.router import SocketRouter
from tests.support.builders import a_periodic_task, a_user
from tests.support.realtime import Sockets
from tests.support.spans import ALWAYS, Recorded
from tests.support.world import IN_MEMORY, World

CALLER = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{CALLER}-b7ad6b7169203331-01"

router = Router(prefix="/tests")
published: list[dict[str, Any]] = []


@router.get("/publish/{number}", dependencies=[PublicRoute])
async def publish(number: int) -> Envelope[None]:
    """Publish a message, as Celery's signal does it."""
    structlog.get_logger("tests").info("publishing", number=number)
    published.append({"id": "a-task", **trace_headers()})
    return Envelope(data=None)


@router.get("/fail", dependencies=[PublicRoute])
async def fail() -> Envelope[None]:
    raise RuntimeError("a secret")


events = SocketRouter(prefix="tests.")


@events.on("echo", dependencies=[PublicEvent])
async def echo(text: str) -> str:
    with recorded_now[0].spans_of("redis")("GET"):
        return text


recorded_now: list[Traces] = []


@events.on("fail", dependencies=[PublicEvent])
async def fail_event() -> None:
    raise RuntimeError("a secret")


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


async def get(recorded: Recorded, path: str, **headers: str) -> httpx.Response:
    http = create_api(container=World().container, routers=[router]).http
    transport = httpx.ASGITransport(TracedApp(http, recorded.traces), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://portico.test") as client:
        return await client.get(path, headers=headers)


@pytest.fixture
def _logs_as_before() -> Iterator[None]:
    """Leave the loggers of the process as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.usefixtures("_logs_as_before")
async def test_a_request_and_the_task_it_publishes_are_one_trace(
    recorded: Recorded, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging(replace(IN_MEMORY, environment=Environment.STAGING, traces=ALWAYS))
    monkeypatch.setattr(measured, "traces", recorded.traces)
    published.clear()
    await get(recorded, "/tests/publish/7?token=secret")
    await asyncio.sleep(0)  # the line of the request
    with task_context("tests.task", "a-task", published[0]):
        logging.getLogger("tests").info("working")

    task, request = sorted(recorded.spans(), key=lambda span: str(span.kind))
    assert request.name == "GET /tests/publish/{number}"
    assert request.kind is SpanKind.SERVER
    assert dict(request.attributes) == {
        "http.request.method": "GET",
        "http.route": "/tests/publish/{number}",
        "http.response.status_code": 200,
    }
    assert (task.name, task.kind) == ("tests.task", SpanKind.CONSUMER)
    assert task.parent.span_id == request.context.span_id
    expected = f"{request.context.trace_id:032x}"
    lines = map(json.loads, capsys.readouterr().err.splitlines())
    said = {line["message"]: line for line in lines}
    for message in ("publishing", "request", "working"):
        assert said[message]["trace_id"] == expected
    assert said["working"]["task_id"] == "a-task"


async def test_a_run_that_a_user_requests_is_in_the_trace_of_the_request(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a beat publishes it."""
    monkeypatch.setattr(measured, "traces", recorded.traces)
    world = World()
    task = await world.given_task(a_periodic_task())
    _, tokens = await world.log_in_as(await world.given(a_user(is_admin=True)))
    app = TracedApp(create_api(container=world.container).http, recorded.traces)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://portico.test"
    ) as client:
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        await client.post(f"/api/v1/periodic-tasks/{task.id}/run", headers=headers)
    async with world.container.uow() as uow:
        [run] = (await uow.runs.slice(task.id, after=None, limit=2)).records
    with task_context(
        task.definition.task, str(run.id), due_entry(task, None, run, None).options["headers"]
    ):
        pass

    request, ran = recorded.spans()
    assert request.name == "POST /api/v1/periodic-tasks/{task_id}/run"
    assert ran.parent.span_id == request.context.span_id


async def test_the_trace_of_a_caller_goes_on(recorded: Recorded) -> None:
    await get(recorded, "/livez", traceparent=TRACEPARENT)

    [span] = recorded.spans()
    assert f"{span.context.trace_id:032x}" == CALLER


@pytest.mark.parametrize("given", ["", "x", "00-0-0-01", TRACEPARENT + "x"])
async def test_nonsense_from_a_caller_begins_a_trace_of_our_own(
    recorded: Recorded, given: str
) -> None:
    response = await get(recorded, "/livez", traceparent=given)

    assert response.status_code == 200
    [span] = recorded.spans()
    assert span.parent is None


async def test_a_caller_cannot_have_itself_traced() -> None:
    recorded = Recorded(replace(ALWAYS, sample=0))
    await get(recorded, "/livez", traceparent=TRACEPARENT)

    assert recorded.spans() == []


@pytest.mark.parametrize("has_caller", [False, True])
def test_the_setting_says_how_many_are_traced_and_what_is_within_them_shares_it(
    *, has_caller: bool
) -> None:
    recorded = Recorded(replace(ALWAYS, sample=50))
    for _ in range(400):
        given = {"traceparent": f"00-{1:032x}-{1:016x}-01"} if has_caller else None
        with recorded.traces.span("request", "server", given):
            headers = trace_headers()
        with recorded.traces.span("task", "consumer", headers):
            pass

    traced = Counter(span.name for span in recorded.spans())
    assert 100 < traced["request"] < 300  # outside of it, once in 10 to the 23
    assert traced["task"] == traced["request"]


async def test_a_failure_says_what_it_is_but_not_what_it_says(recorded: Recorded) -> None:
    assert (await get(recorded, "/tests/fail")).status_code == 500
    with pytest.raises(ValueError, match="secret"), recorded.traces.span("job", "consumer"):
        raise ValueError("a secret")

    request, job = recorded.spans()
    assert request.attributes["http.response.status_code"] == 500
    assert request.status.status_code is StatusCode.ERROR
    assert (job.status.status_code, job.status.description) == (StatusCode.ERROR, "ValueError")
    assert "secret" not in request.to_json() + job.to_json()


async def test_statements_are_spans_within_a_trace(recorded: Recorded) -> None:
    engine = create_async_engine("postgresql+asyncpg://127.0.0.1:9/nothing")
    recorded.traces.follow_statements(engine)
    context: Any = type("Context", (), {})()
    given = None, None, "select 1 where x = $1", ("secret",), context, False
    dispatch = engine.sync_engine.dispatch
    dispatch.before_cursor_execute(*given)  # outside of a trace
    with recorded.traces.span("job", "internal"):
        dispatch.before_cursor_execute(*given)
        dispatch.after_cursor_execute(*given)
    await engine.dispose()

    statement, job = recorded.spans()
    assert statement.name == "postgresql SELECT"
    assert statement.parent.span_id == job.context.span_id
    assert "secret" not in statement.to_json()


async def test_an_event_is_a_trace_with_the_calls_of_its_handler(
    recorded: Recorded,
) -> None:
    recorded_now[:] = [recorded.traces]
    world = World()
    ada = await world.given(a_user())
    async with (
        Sockets(world, [events], recorded.traces) as sockets,
        await sockets.client(ada) as client,
    ):
        assert await client.call("tests.echo", "a secret") == "a secret"
        await client.call("tests.fail")

    call, event, failure = recorded.spans()
    assert (failure.name, failure.status.description) == ("EVENT tests.fail", "1011")
    assert (event.name, event.kind, event.parent) == ("EVENT tests.echo", SpanKind.SERVER, None)
    assert (call.name, call.kind) == ("redis GET", SpanKind.CLIENT)
    assert call.parent.span_id == event.context.span_id
    assert "secret" not in recorded.json()


def test_outside_of_a_trace_there_is_no_id_and_no_header() -> None:
    assert trace_id() is None
    assert trace_headers() == {}


def test_without_the_extra_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "find_spec", lambda _name: None)

    with pytest.raises(UnsafeSettings, match=r"PORTICO_TRACES_URL needs the extra `tracing`"):
        bootstrap.build(replace(IN_MEMORY, traces=ALWAYS))


def test_traces_are_off_by_default() -> None:
    assert bootstrap.traces(IN_MEMORY, "api") is None
