"""What becomes of failures: an error event, a completed ack, and a line in the log if the fault is ours."""

from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
from fastapi import HTTPException
from socketio import exceptions

from entrypoints.socketio.errors import Code, SocketError
from entrypoints.socketio.metrics import Metrics
from entrypoints.socketio.parameters import SID, Environ, Event, Reason
from entrypoints.socketio.server import AsyncServer
from entrypoints.socketio.testing import ConnectionRefused, SocketTestClient

GENERIC = {
    "code": 1011,
    "event": "work",
    "message": "Internal Error.",
    "data": "The server failed; the error is logged",
}


@pytest.fixture
def sio() -> AsyncServer:
    return AsyncServer()


@pytest.fixture
async def client(sio: AsyncServer) -> AsyncIterator[SocketTestClient]:
    async with SocketTestClient(sio) as client:
        yield client


@pytest.mark.parametrize("is_planned", [True, False])
async def test_a_failure_of_ours_is_logged_and_the_client_learns_nothing_of_it(
    sio: AsyncServer,
    client: SocketTestClient,
    logs: list[MutableMapping[str, Any]],
    is_planned: bool,  # noqa: FBT001
) -> None:
    async def planned(number: int) -> None:
        raise KeyError("secret")

    async def plain(sid, number):  # type: ignore[no-untyped-def]
        raise KeyError("secret")

    sio.on("work", planned if is_planned else plain)

    assert await client.call("work", 1) == {"error": GENERIC}
    assert await client.receive("error") == GENERIC
    [line] = [line for line in logs if line["log_level"] == "error"]
    assert (line["socket_event"], line["sid"], line["namespace"]) == ("work", client.sid, "/")
    assert isinstance(line["exc_info"], KeyError)


async def test_an_error_without_an_ack_is_an_event_alone(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    await client.emit("nothing")

    assert (await client.receive("error"))["code"] == 1003


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, 1008), (403, 1008), (404, 1008), (422, 1007), (429, 1013), (503, 1013), (500, 1011)],
)
async def test_http_exceptions_of_dependencies_have_a_code(
    sio: AsyncServer, client: SocketTestClient, status: int, code: int
) -> None:
    @sio.event
    async def work(number: int) -> None:
        raise HTTPException(status, "because")

    error = (await client.call("work", 1))["error"]

    assert error["code"] == code
    assert error["data"] == ("because" if code != 1011 else GENERIC["data"])


async def test_exception_handlers_are_asked_by_class_the_nearest_first(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    class DomainError(Exception): ...

    class NotFound(DomainError): ...

    @sio.exception_handler(DomainError)
    def any_error(error: DomainError) -> SocketError:
        return SocketError(Code.NOT_ALLOWED, f"no: {error}")

    @sio.exception_handler(NotFound)
    def not_found(error: NotFound) -> SocketError:
        return SocketError(Code.UNSUPPORTED, "not found")

    @sio.event
    async def work(name: str) -> None:
        raise {"domain": DomainError, "found": NotFound}[name]("x")

    assert (await client.call("work", "domain"))["error"]["data"] == "no: x"
    assert (await client.call("work", "found"))["error"]["data"] == "not found"


async def test_an_exception_handler_that_fails_is_a_failure_of_ours(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    @sio.exception_handler(ValueError)
    def broken(error: ValueError) -> SocketError:
        raise RuntimeError

    @sio.event
    async def work(number: int) -> None:
        raise ValueError

    assert await client.call("work", 1) == {"error": GENERIC}


async def test_a_handler_may_raise_an_error_itself(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    @sio.event
    async def work(number: int) -> None:
        raise SocketError(Code.TRY_AGAIN, "later")

    assert await client.call("work", 1) == {
        "error": {"code": 1013, "event": "work", "message": "Try Again Later.", "data": "later"}
    }


async def test_an_error_arrives_in_the_namespace_of_the_event(sio: AsyncServer) -> None:
    @sio.on("work", namespace="/there")
    async def work(number: int) -> None: ...

    async with SocketTestClient(sio, namespace="/there") as client:
        await client.emit("work", "x")
        assert (await client.receive("error"))["code"] == 1007


async def test_a_very_long_name_is_not_repeated_whole(
    sio: AsyncServer, client: SocketTestClient
) -> None:
    error = (await client.call("x" * 10_000))["error"]

    assert len(error["event"]) == 200


# --- connect ------------------------------------------------------------------------------------


async def refused(sio: AsyncServer, **options: Any) -> Any:
    with pytest.raises(ConnectionRefused) as raised:
        async with SocketTestClient(sio, **options):
            pass
    return raised.value.data


async def test_connect_refuses_by_false(sio: AsyncServer) -> None:
    @sio.event
    async def connect(environ: Environ) -> bool:
        return False

    assert await refused(sio) == {
        "message": "Policy Violation.",
        "data": {
            "code": 1008,
            "event": "connect",
            "message": "Policy Violation.",
            "data": "Connection rejected by server",
        },
    }


@pytest.mark.parametrize("raised", [TypeError("x"), KeyError("x"), RuntimeError("x")])
@pytest.mark.parametrize("is_planned", [True, False])
async def test_connect_that_fails_refuses_and_runs_once(
    sio: AsyncServer,
    raised: Exception,
    is_planned: bool,  # noqa: FBT001
) -> None:
    calls: list[str] = []

    async def planned(sid: SID, environ: Environ) -> None:
        calls.append(sid)
        raise raised

    async def plain(sid, environ, auth):  # type: ignore[no-untyped-def]
        calls.append(sid)
        raise raised

    sio.on("connect", planned if is_planned else plain)

    assert (await refused(sio))["data"] == GENERIC | {"event": "connect"}
    assert len(calls) == 1
    assert not sio.manager.rooms
    assert not sio.manager.pending_connect


async def test_connect_refuses_as_python_socketio_does(sio: AsyncServer) -> None:
    @sio.event
    async def connect(environ: Environ) -> None:
        raise exceptions.ConnectionRefusedError("banned")

    assert (await refused(sio))["data"]["data"] == "banned"


async def test_an_unknown_namespace_is_refused_with_an_object(sio: AsyncServer) -> None:
    data = await refused(sio, namespace="/nowhere")

    assert data["message"] == "Unsupported Data."
    assert data["data"]["data"] == "Unknown namespace"


async def test_a_disconnect_that_fails_runs_once_and_is_logged(
    sio: AsyncServer, logs: list[MutableMapping[str, Any]]
) -> None:
    calls: list[str] = []

    @sio.event
    async def disconnect(sid: SID, reason: Reason) -> None:
        calls.append(reason)
        raise TypeError

    async with SocketTestClient(sio):
        pass

    assert calls == ["transport close"]
    assert [line["socket_event"] for line in logs if line["log_level"] == "error"] == ["disconnect"]
    assert not sio.manager.rooms


async def test_metrics_are_reported() -> None:
    reported: list[Any] = []

    class Reporting(Metrics):
        def connected(self, namespace: str) -> None:
            reported.append(("connected", namespace))

        def connection_refused(self, namespace: str, code: int) -> None:
            reported.append(("connection_refused", namespace, code))

        def disconnected(self, namespace: str, reason: str) -> None:
            reported.append(("disconnected", namespace, reason))

        def handled(self, namespace: str, event: str, seconds: float, code: int | None) -> None:
            assert seconds >= 0
            reported.append(("handled", namespace, event, code))

        def refused(self, namespace: str, code: int) -> None:
            reported.append(("refused", namespace, code))

    sio = AsyncServer(metrics=Reporting())

    @sio.event
    async def work(number: int) -> None: ...

    @sio.event
    async def plain(sid, number):  # type: ignore[no-untyped-def]
        ...

    @sio.on("*", namespace="/any")
    async def anything(event: Event) -> None: ...

    async with SocketTestClient(sio) as client:
        assert sio.connection_count == 1
        await client.call("work", 1)
        await client.call("work", "x")
        await client.call("plain", 1)
        await client.call("anything")
        await client.call("connect")
    await refused(sio, namespace="/nowhere")
    async with SocketTestClient(sio, namespace="/any") as client:
        await client.call("whatever")

    assert sio.connection_count == 0
    assert sio.unsent_bytes() == 0
    assert reported == [
        ("connected", "/"),
        ("handled", "/", "work", None),
        ("handled", "/", "work", 1007),
        ("handled", "/", "plain", None),
        ("handled", "/", "*", 1003),
        ("refused", "/", 1003),
        ("disconnected", "/", "transport close"),
        ("connection_refused", "*", 1003),
        ("connected", "/any"),
        ("handled", "/any", "*", None),
        ("disconnected", "/any", "transport close"),
    ]
