"""What python-socketio documents holds for our server: code that was written for theirs runs as it did."""

from typing import Any

import pytest
import socketio
from socketio import exceptions

from entrypoints.socketio.server import AsyncServer
from entrypoints.socketio.testing import ConnectionRefused, SocketTestClient


@pytest.fixture
def sio() -> AsyncServer:
    return AsyncServer()


async def test_connect_may_take_two_arguments_or_three(sio: AsyncServer) -> None:
    seen: list[Any] = []

    @sio.on("connect")
    async def two(sid, environ):  # type: ignore[no-untyped-def]
        seen.append(environ["REQUEST_METHOD"])

    async with SocketTestClient(sio):
        assert seen == ["GET"]

    @sio.on("connect")
    def three(sid, environ, auth):  # type: ignore[no-untyped-def]
        seen.append(auth)

    async with SocketTestClient(sio, auth={"a": 1}):
        assert seen == ["GET", {"a": 1}]


async def test_disconnect_may_take_one_argument_or_two(sio: AsyncServer) -> None:
    seen: list[Any] = []

    @sio.on("disconnect")
    async def one(sid):  # type: ignore[no-untyped-def]
        seen.append(sid)

    async with SocketTestClient(sio) as client:
        pass
    assert seen == [client.sid]

    @sio.on("disconnect")
    def two(sid, reason):  # type: ignore[no-untyped-def]
        seen.append(reason)

    async with SocketTestClient(sio) as client:
        await sio.disconnect(client.sid)
        await client.wait_disconnected()
    assert seen[1:] == [sio.reason.SERVER_DISCONNECT]


async def test_connect_refuses_by_false_and_by_exception(sio: AsyncServer) -> None:
    answers: list[Any] = [False, exceptions.ConnectionRefusedError("no", {"code": 1})]

    @sio.on("connect")
    async def connect(sid, environ):  # type: ignore[no-untyped-def]
        answer = answers.pop(0)
        if answer is False:
            return False
        raise answer

    for message in (
        {"message": "Connection rejected by server"},
        {"message": "no", "data": {"code": 1}},
    ):
        with pytest.raises(ConnectionRefused) as refused:
            async with SocketTestClient(sio):
                pass
        assert refused.value.data == message


async def test_catch_all_handlers_get_the_event_or_the_namespace(sio: AsyncServer) -> None:
    @sio.on("*")
    async def any_event(event, sid, *args):  # type: ignore[no-untyped-def]
        return [event, *args]

    @sio.on("known", namespace="*")
    async def any_namespace(namespace, sid, *args):  # type: ignore[no-untyped-def]
        return [namespace, *args]

    @sio.on("*", namespace="*")
    async def anything(event, namespace, sid, *args):  # type: ignore[no-untyped-def]
        return [event, namespace, *args]

    sio.namespaces = "*"
    async with SocketTestClient(sio) as client:
        assert await client.call("what", 1, 2) == ["what", 1, 2]
    async with SocketTestClient(sio, namespace="/n") as client:
        assert await client.call("known", 1) == ["/n", 1]
        assert await client.call("what", 1) == ["what", "/n", 1]


async def test_acks_are_nothing_one_value_or_several(sio: AsyncServer) -> None:
    @sio.on("ack")
    async def ack(sid, kind):  # type: ignore[no-untyped-def]
        return {"nothing": None, "one": [1], "several": (1, "2", True)}[kind]

    async with SocketTestClient(sio) as client:
        assert await client.call("ack", "nothing") is None
        assert await client.call("ack", "one") == [1]
        assert await client.call("ack", "several") == (1, "2", True)


async def test_rooms_sessions_and_skipped_clients(sio: AsyncServer) -> None:
    async with SocketTestClient(sio) as ada, SocketTestClient(sio) as bob:
        await sio.enter_room(ada.sid, "room")
        await sio.enter_room(bob.sid, "room")
        assert set(sio.rooms(ada.sid)) == {ada.sid, "room"}

        await sio.emit("news", 1, room="room", skip_sid=ada.sid)
        await sio.emit("news", 2, to=ada.sid)
        await sio.emit("news", 3)
        assert [await bob.receive("news") for _ in range(2)] == [1, 3]
        assert [await ada.receive("news") for _ in range(2)] == [2, 3]

        await sio.leave_room(bob.sid, "room")
        await sio.close_room("room")
        await sio.emit("gone", room="room")
        assert not ada.has_received("gone")

        async with sio.session(ada.sid) as session:
            session["name"] = "Ada"
        assert await sio.get_session(ada.sid) == {"name": "Ada"}
        assert await sio.get_session(bob.sid) == {}


async def test_a_namespace_that_is_a_class_of_theirs_runs_as_it_did(sio: AsyncServer) -> None:
    class Theirs(socketio.AsyncNamespace):  # type: ignore[misc]
        async def on_connect(self, sid, environ):  # type: ignore[no-untyped-def]
            await self.save_session(sid, {"sid": sid})

        def on_plain(self, sid, data):  # type: ignore[no-untyped-def]
            return data

        async def on_echo(self, sid, data):  # type: ignore[no-untyped-def]
            await self.emit("echoed", data, to=sid)
            return (await self.get_session(sid))["sid"] == sid

    theirs = Theirs("/theirs")
    sio.register_namespace(theirs)

    async with SocketTestClient(sio, namespace="/theirs") as client:
        assert await client.call("echo", b"\x00") is True
        assert await client.receive("echoed") == b"\x00"
        assert await client.call("plain", [1]) == [1]
    assert sio.namespace_handlers["/theirs"] is theirs


async def test_a_client_that_does_not_answer_runs_into_the_time_out(sio: AsyncServer) -> None:
    async with SocketTestClient(sio) as client:
        client.answers["answered"] = "yes"
        assert await sio.call("answered", to=client.sid, timeout=1) == "yes"
    with pytest.raises(exceptions.TimeoutError):
        await sio.call("gone", to="nobody", timeout=0.01)
