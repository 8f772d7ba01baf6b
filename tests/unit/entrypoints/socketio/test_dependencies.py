"""What handlers and their dependencies are given, and what becomes of generators."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from math import inf, nan
from typing import Annotated, Any

import fastapi
import pytest
from fastapi import FastAPI
from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection

from entrypoints.socketio.parameters import SID, Depends, Event, Namespace, Payload, inline
from entrypoints.socketio.server import AsyncServer
from entrypoints.socketio.testing import SocketTestClient


@pytest.fixture
def sio() -> AsyncServer:
    return AsyncServer()


async def call(sio: AsyncServer, event: str, *arguments: Any, **options: Any) -> Any:
    async with SocketTestClient(sio, **options) as client:
        return await client.call(event, *arguments)


async def get_user(sid: SID) -> str:
    return f"user of {bool(sid)}"


async def test_a_dependency_is_a_default_or_in_annotated(sio: AsyncServer) -> None:
    @sio.on("default")
    async def default(user: str = Depends(get_user)) -> str:
        return user

    @sio.on("annotated")
    async def annotated(user: Annotated[str, Depends(get_user)]) -> str:
        return user

    assert await call(sio, "default") == "user of True"
    assert await call(sio, "annotated") == "user of True"


async def test_the_last_dependency_counts(sio: AsyncServer) -> None:
    async def other() -> str:
        return "other"

    @sio.event
    async def which(
        a: Annotated[str, Depends(get_user), Depends(other)],
        b: Annotated[str, Depends(get_user)] = Depends(other),
    ) -> Any:
        return a, b

    assert await call(sio, "which") == ("other", "other")


async def test_a_class_is_its_own_dependency(sio: AsyncServer) -> None:
    @dataclass
    class Paging:
        sid: SID
        size: int = 20

    @sio.event
    async def size(paging: Annotated[Paging, Depends()]) -> int:
        return paging.size

    assert await call(sio, "size") == 20


async def test_a_dependency_runs_once_for_an_event_unless_it_says_otherwise(
    sio: AsyncServer,
) -> None:
    calls: list[str] = []

    async def shared() -> int:
        calls.append("shared")
        return len(calls)

    async def first(number: Annotated[int, Depends(shared)]) -> int:
        return number

    @sio.event
    async def numbers(
        a: Annotated[int, Depends(first)],
        b: Annotated[int, Depends(shared)],
        c: Annotated[int, Depends(shared, use_cache=False)],
    ) -> Any:
        return [a, b, c]

    assert await call(sio, "numbers") == [1, 1, 2]
    assert await call(sio, "numbers") == [3, 3, 4]


async def test_security_scopes_are_those_of_the_chain(sio: AsyncServer) -> None:
    opened: list[str] = []

    async def session() -> str:
        opened.append("session")
        return "session"

    async def user(scopes: SecurityScopes, session: Annotated[str, Depends(session)]) -> str:
        return scopes.scope_str

    async def active(user: Annotated[str, fastapi.Security(user, scopes=["read"])]) -> str:
        return user

    @sio.event
    async def scopes(
        a: Annotated[str, fastapi.Security(active, scopes=["admin"])],
        b: Annotated[str, fastapi.Security(user, scopes=["write"])],
    ) -> Any:
        return [a, b]

    assert await call(sio, "scopes") == ["admin read", "write"]
    assert opened == ["session"]  # what asks for no scopes is one for all of them


async def test_synchronous_dependencies_and_handlers_run_in_threads_unless_they_are_inline(
    sio: AsyncServer,
) -> None:
    here = threading.get_ident()

    def in_thread() -> bool:
        return threading.get_ident() != here

    @inline
    def on_loop() -> bool:
        return threading.get_ident() == here

    def generator() -> Iterator[bool]:
        yield threading.get_ident() != here

    @sio.event
    def where(
        a: Annotated[bool, Depends(in_thread)],
        b: Annotated[bool, Depends(on_loop)],
        c: Annotated[bool, Depends(generator)],
    ) -> Any:
        return [a, b, c, threading.get_ident() != here]

    assert await call(sio, "where") == [True, True, True, True]


async def test_a_dependency_of_http_gets_the_handshake(sio: AsyncServer) -> None:
    app = FastAPI()
    app.state.greeting = "hi"
    sio.app = app

    async def greeting(connection: HTTPConnection) -> str:
        return f"{connection.app.state.greeting} {connection.headers['x-name']}"

    @sio.event
    async def greet(text: Annotated[str, Depends(greeting)]) -> str:
        return text

    assert await call(sio, "greet", headers={"X-Name": "Ada"}) == "hi Ada"


async def test_event_and_namespace_are_parameters_too(sio: AsyncServer) -> None:
    @sio.on("*", namespace="*")
    async def anything(event: Event, namespace: Namespace, number: int) -> Any:
        return [event, namespace, number]

    sio.namespaces = "*"

    assert await call(sio, "what", 3, namespace="/there") == ["what", "/there", 3]


async def test_a_dependency_gets_the_payload_only_if_it_is_marked(sio: AsyncServer) -> None:
    async def shout(text: Annotated[str, Payload()]) -> str:
        return text.upper()

    @sio.event
    async def say(text: str, loud: Annotated[str, Depends(shout)]) -> Any:
        return [text, loud]

    assert await call(sio, "say", "hi") == ["hi", "HI"]
    assert (await call(sio, "say", 1))["error"]["code"] == 1007


async def test_an_override_takes_the_place_of_a_dependency_wherever_it_is(
    sio: AsyncServer,
) -> None:
    async def name(user: Annotated[str, Depends(get_user)]) -> str:
        return user

    @sio.event
    async def who(name: Annotated[str, Depends(name)]) -> str:
        return name

    async def somebody(sid: SID) -> str:
        return "somebody"

    assert await call(sio, "who", dependency_overrides={get_user: somebody}) == "somebody"
    assert await call(sio, "who") == "user of True"


async def test_dependencies_of_a_registration_run_before_the_payload_is_validated(
    sio: AsyncServer,
) -> None:
    async def deny() -> None:
        raise fastapi.HTTPException(403, "not yours")

    @sio.on("guarded", dependencies=[Depends(deny)])
    async def guarded(number: int) -> int:
        return number

    error = (await call(sio, "guarded", "no number"))["error"]

    assert (error["code"], error["data"]) == (1008, "not yours")


# --- generators ---------------------------------------------------------------------------------


class Session:
    """A unit of work that remembers how it ended."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def __call__(self) -> AsyncIterator[str]:
        self.log.append("open")
        try:
            yield "session"
        except BaseException as error:
            self.log.append(f"rollback {type(error).__name__}")
            raise
        else:
            self.log.append("commit")

    def in_thread(self) -> Iterator[str]:
        self.log.append("open")
        try:
            yield "session"
        except BaseException as error:
            self.log.append(f"rollback {type(error).__name__}")
            raise
        else:
            self.log.append("commit")


@pytest.mark.parametrize("kind", ["async", "thread", "inline"])
async def test_a_generator_ends_before_the_ack_and_sees_the_exception(
    sio: AsyncServer, kind: str
) -> None:
    session = Session()

    @inline
    def on_loop() -> Iterator[str]:
        yield from session.in_thread()

    generators: dict[str, Any] = {
        "async": session.__call__,
        "thread": session.in_thread,
        "inline": on_loop,
    }
    generator = generators[kind]

    @sio.on("work")
    async def work(number: int, session: Annotated[str, Depends(generator)]) -> Any:
        return 1 / number

    async with SocketTestClient(sio) as client:
        assert await client.call("work", 2) == 0.5
        assert session.log == ["open", "commit"]
        session.log.clear()
        assert (await client.call("work", 0))["error"]["code"] == 1011
        assert session.log == ["open", "rollback ZeroDivisionError"]


async def test_generators_end_in_reverse_order_and_one_that_fails_stops_none(
    sio: AsyncServer,
) -> None:
    log: list[str] = []

    def resource(name: str, *, fails: bool = False) -> Any:
        async def generator() -> AsyncIterator[None]:
            try:
                yield
            finally:
                log.append(name)
                if fails:
                    raise RuntimeError(name)

        return Depends(generator)

    @sio.on("work", dependencies=[resource("a"), resource("b", fails=True), resource("c")])
    async def work() -> str:
        return "done"

    ack = await call(sio, "work")

    assert log == ["c", "b", "a"]
    assert (
        ack["error"]["code"] == 1011
    )  # the commit of b failed, so the ack does not say that it is done


async def test_a_generator_cannot_hide_the_failure_from_the_client(sio: AsyncServer) -> None:
    async def hides() -> AsyncIterator[None]:
        with suppress(ZeroDivisionError):
            yield

    @sio.on("work", dependencies=[Depends(hides)])
    async def work() -> float:
        return 1 / 0

    assert (await call(sio, "work"))["error"]["code"] == 1011


async def test_a_generator_may_say_what_the_failure_is(sio: AsyncServer) -> None:
    async def translates() -> AsyncIterator[None]:
        try:
            yield
        except ZeroDivisionError:
            raise fastapi.HTTPException(403, "not by zero") from None

    @sio.on("work", dependencies=[Depends(translates)])
    async def work() -> float:
        return 1 / 0

    assert (await call(sio, "work"))["error"]["data"] == "not by zero"


@pytest.mark.parametrize("times", [0, 2])
async def test_a_generator_yields_once(sio: AsyncServer, times: int) -> None:
    async def generator() -> AsyncIterator[None]:
        for _ in range(times):
            yield

    def in_thread() -> Iterator[None]:
        for _ in range(times):
            yield

    @sio.on("a", dependencies=[Depends(generator)])
    async def first() -> None: ...

    @sio.on("b", dependencies=[Depends(in_thread)])
    async def second() -> None: ...

    async with SocketTestClient(sio) as client:
        assert (await client.call("a"))["error"]["code"] == 1011
        assert (await client.call("b"))["error"]["code"] == 1011


@dataclass
class Measured:
    seconds: float


@pytest.mark.parametrize(
    "result",
    [object(), nan, [{"a": inf}], {Decimal(1), -inf}, Measured(nan)],
    ids=["object", "NaN", "Infinity", "in a set", "in a dataclass"],
)
async def test_the_result_is_serialised_before_the_commit(sio: AsyncServer, result: object) -> None:
    session = Session()

    @sio.event
    async def work(session: Annotated[str, Depends(session.__call__)]) -> object:
        return result

    assert (await call(sio, "work"))["error"]["code"] == 1011
    assert session.log == ["open", "rollback PydanticSerializationError"]


async def test_a_cancelled_handler_rolls_back_and_is_not_acknowledged(sio: AsyncServer) -> None:
    session = Session()
    running: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()

    @sio.event
    async def work(session: Annotated[str, Depends(session.__call__)]) -> None:
        task = asyncio.current_task()
        assert task
        running.put_nowait(task)
        await asyncio.Event().wait()

    async with SocketTestClient(sio, timeout=0.05) as client:
        await client.emit("work")
        task = await running.get()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert session.log == ["open", "rollback CancelledError"]


async def test_cancellation_while_a_thread_opens_a_generator_leaves_nothing_open(
    sio: AsyncServer,
) -> None:
    session = Session()
    opening = threading.Event()
    go_on = threading.Event()

    def slow() -> Iterator[str]:
        opening.set()
        go_on.wait(5)
        yield from session.in_thread()

    handler = sio.on("work", dependencies=[Depends(slow)])

    @handler
    async def work() -> None: ...

    running = asyncio.create_task(sio.planned_handlers["/", "work"].run("sid", "work", "/", ()))
    await asyncio.to_thread(opening.wait, 5)
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0.01)
    assert not running.done()
    go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert session.log == ["open", "rollback CancelledError"]


async def test_ten_thousand_events_leave_nothing_behind(sio: AsyncServer) -> None:
    opened = closed = 0

    async def resource() -> AsyncIterator[int]:
        nonlocal opened, closed
        opened += 1
        try:
            yield opened
        finally:
            closed += 1

    @sio.event
    async def work(number: int, resource: Annotated[int, Depends(resource)]) -> float:
        if number == 1:
            await asyncio.sleep(0)
        return 1 / number

    plan = sio.planned_handlers["/", "work"]
    before = len(asyncio.all_tasks())

    async def one(number: int) -> None:
        task = asyncio.create_task(plan.run("sid", "work", "/", (number % 3,)))
        if number % 7 == 0:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        task.cancelled() or task.exception()

    for start in range(0, 10_000, 100):
        await asyncio.gather(*map(one, range(start, start + 100)))

    assert opened == closed > 9_000
    assert len(asyncio.all_tasks()) == before
