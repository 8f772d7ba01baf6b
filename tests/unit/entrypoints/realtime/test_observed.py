"""What metrics and logs say of connections and events."""

import pytest
import structlog

from adapters.memory.metrics import MemoryMetrics
from application.metrics import (
    SOCKET_CONNECTIONS,
    SOCKET_CONNECTIONS_ENDED,
    SOCKET_CONNECTIONS_OPENED,
    SOCKET_DROPPED,
    SOCKET_EVENT_DURATION,
    SOCKET_EVENTS,
    SOCKET_REFUSED,
    SOCKET_UNSENT,
)
from domain.identity import User
from entrypoints.realtime.metrics import SocketMetrics
from entrypoints.realtime.security import AuthenticatedEvent
from entrypoints.socketio.router import SocketRouter
from entrypoints.socketio.testing import ConnectionRefused
from tests.support.builders import a_user
from tests.support.realtime import Sockets, fake
from tests.support.world import World

failing = SocketRouter(prefix="failing.")


@failing.on("work", dependencies=[AuthenticatedEvent])
async def work() -> None:
    raise KeyError("secret")


@pytest.fixture
async def ada(world: World) -> User:
    return await world.given(a_user())


async def test_connections_and_events_are_counted(
    world: World, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sockets(world, [fake, failing]) as sockets:
        measured = MemoryMetrics()
        sockets.sio.metrics = sockets.sio.eio.metrics = SocketMetrics(measured)
        async with await sockets.client(ada) as client:
            await client.call("fake.own")
            await client.call("failing.work")
            await client.call("connect")
            monkeypatch.setattr(sockets.sio.eio, "unsent_bytes", lambda: 7)
            sockets.realtime.sample(measured)
        with pytest.raises(ConnectionRefused):
            async with sockets.with_auth(None):
                pass
        sockets.sio.metrics.dropped("too fast")

    durations = {labels for metric, labels in measured.values if metric is SOCKET_EVENT_DURATION}
    counted = {
        key: value for key, value in measured.values.items() if key[0] is not SOCKET_EVENT_DURATION
    }
    assert durations == {("fake.own",), ("failing.work",)}
    assert counted == {
        (SOCKET_CONNECTIONS, ()): 1,
        (SOCKET_UNSENT, ()): 7,
        (SOCKET_CONNECTIONS_OPENED, ()): 1,
        (SOCKET_CONNECTIONS_ENDED, ("transport close",)): 1,
        (SOCKET_REFUSED, ("1008",)): 1,
        (SOCKET_EVENTS, ("fake.own", "ok")): 1,
        (SOCKET_EVENTS, ("failing.work", "1011")): 1,
        (SOCKET_EVENTS, ("*", "1003")): 1,
        (SOCKET_DROPPED, ("too fast",)): 1,
    }


async def test_the_line_of_a_failure_names_the_user_and_the_request(
    world: World, ada: User
) -> None:
    async with Sockets(world, [failing]) as sockets, await sockets.client(ada) as client:
        with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
            assert (await client.call("failing.work"))["error"]["code"] == 1011

    [line] = [line for line in lines if line["event"] == "handler failed"]
    assert line["socket_event"] == "failing.work"
    assert (line["user_id"], line["request_id"]) == (ada.id, client.sid)
