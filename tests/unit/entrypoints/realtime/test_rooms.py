"""Rooms and messages as clients meet them."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from application.ports.event_emitter import Audience
from application.settings import RealtimeSettings
from application.use_cases.caller import Caller
from domain.connections import ConnectionId
from domain.errors import Unavailable
from domain.identity import User
from domain.rooms import Room, RoomKind, RoomName
from entrypoints.realtime.connections import LocalConnections
from entrypoints.realtime.lease import ConnectionLease
from entrypoints.socketio.testing import ConnectionRefused, SocketTestClient
from tests.support.builders import a_role, a_user
from tests.support.realtime import Sockets
from tests.support.world import LAPTOP, World

NOT_ALLOWED, INVALID = 1008, 1007
UNKNOWN = str(UUID(int=0))


@pytest.fixture
async def ada(world: World) -> User:
    return await world.given(a_user(), a_role("EVENT:**"))


@pytest.fixture
async def grace(world: World) -> User:
    return await world.given(a_user(), a_role("EVENT:**"))


async def a_room(world: World, owner: User, kind: RoomKind = RoomKind.OPEN) -> Room:
    caller, _ = await world.log_in_as(owner)
    return await world.container.create_room()(caller, RoomName("Tea"), kind)


async def caller_of(world: World, user: User) -> Caller:
    caller, _ = await world.log_in_as(user)
    return caller


async def joined(client: SocketTestClient, room: Room) -> Any:
    return await client.call("room.join", {"room": str(room.id)})


async def say(client: SocketTestClient, room: Room, text: str, **more: Any) -> Any:
    return await client.call("chat.send", {"room": str(room.id), "text": text, **more})


def person(user: User) -> dict[str, str]:
    return {"id": str(user.id), "name": user.name.value}


async def test_a_message_reaches_everybody_in_the_room_once(
    world: World, sockets: Sockets, ada: User, grace: User
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(ada) as hers, await sockets.client(grace) as other:
        for client in (hers, other):
            await joined(client, room)
        ack = await say(hers, room, "hi")

        assert ack["message"]["user"] == person(ada)
        assert (ack["message"]["seq"], ack["message"]["text"]) == (1, "hi")
        for client in (hers, other):
            assert await client.receive("chat.receive") == ack["message"]
            assert not client.has_received("chat.receive")


async def test_joining_says_who_is_there_and_is_seen_by_them(
    world: World, sockets: Sockets, ada: User, grace: User
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(ada) as hers:
        assert await joined(hers, room) == {
            "room": {
                "id": str(room.id),
                "name": "Tea",
                "kind": "open",
                "owner": str(ada.id),
                "createdAt": room.created_at.isoformat().replace("+00:00", "Z"),
            },
            "present": [person(ada)],
        }
        assert (await hers.receive("presence"))["user"] == person(ada)
        async with await sockets.client(grace) as other:
            present = (await joined(other, room))["present"]
            assert {each["id"] for each in present} == {str(ada.id), str(grace.id)}
            assert await hers.receive("presence") == {
                "room": str(room.id),
                "user": person(grace),
                "state": "joined",
            }
        assert await hers.receive("presence") == {
            "room": str(room.id),
            "user": person(grace),
            "state": "left",
        }


async def test_a_user_who_has_left_gets_no_more_events(
    world: World, sockets: Sockets, ada: User, grace: User
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(ada) as hers, await sockets.client(grace) as other:
        for client in (hers, other):
            await joined(client, room)
        assert await other.call("room.leave", {"room": str(room.id)}) is None
        assert await other.call("room.leave", {"room": str(room.id)}) is None
        await say(hers, room, "hi")

        await hers.receive("chat.receive")
        assert not other.has_received("chat.receive")


async def test_a_client_that_joins_and_leaves_without_waiting_for_acks_has_left(
    world: World, sockets: Sockets, ada: User
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(ada) as client:
        reference = {"room": str(room.id)}
        events = ("room.join", "room.leave") * 3
        await asyncio.gather(*(client.call(event, reference) for event in events))
        await say(client, room, "hi")

        assert await world.container.list_present()(await caller_of(world, ada), room.id) == []
        assert not client.has_received("chat.receive")


def test_events_that_change_a_room_are_handled_in_the_order_of_the_client(sockets: Sockets) -> None:
    in_order = {event for (_, event), each in sockets.sio.planned_handlers.items() if each.ordered}
    assert in_order == {"room.join", "room.leave", "chat.send"}


async def test_missed_messages_are_in_the_history(
    world: World, sockets: Sockets, ada: User
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(ada) as client:
        for number in range(1, 6):
            await say(client, room, f"message {number}")

        async def seqs(**query: int) -> Any:
            found = await client.call("chat.history", {"room": str(room.id), **query})
            return [each["seq"] for each in found["messages"]], found["more"]

        assert await seqs() == ([1, 2, 3, 4, 5], False)
        assert await seqs(after=3) == ([4, 5], False)
        assert await seqs(after=1, limit=2) == ([2, 3], True)
        assert await seqs(before=4, limit=2) == ([2, 3], True)
        assert await seqs(after=5) == ([], False)


async def test_a_message_that_is_sent_again_is_stored_once(
    world: World, sockets: Sockets, ada: User
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(ada) as client:
        chosen = "0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"
        first = await say(client, room, "hi", id=chosen)

        assert first["message"]["id"] == chosen
        assert await say(client, room, "hi", id=chosen) == first


async def test_typing_is_announced_to_the_room(
    world: World, sockets: Sockets, ada: User, grace: User
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(ada) as hers, await sockets.client(grace) as other:
        await joined(hers, room)
        ack = await other.call("chat.typing", {"room": str(room.id)})
        assert ack["error"]["code"] == NOT_ALLOWED
        await joined(other, room)
        await other.call("chat.typing", {"room": str(room.id)})

        typing = {"room": str(room.id), "user": person(grace)}
        assert await hers.receive("chat.typing") == typing


async def test_a_room_hears_once_a_second_that_a_user_is_typing(
    world: World, sockets: Sockets, ada: User
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(ada) as client:

        async def typed(times: int) -> int:
            for _ in range(times):
                assert await client.call("chat.typing", {"room": str(room.id)}) is None
            await say(client, room, "done")
            await client.receive("chat.receive")
            heard = 0
            while client.has_received("chat.typing"):
                await client.receive("chat.typing")
                heard += 1
            return heard

        await joined(client, room)
        assert await typed(3) == 1
        await world.clock.pass_time(timedelta(seconds=1))
        assert await typed(3) == 1
        await client.call("room.leave", {"room": str(room.id)})
        await joined(client, room)
        assert await typed(1) == 1


@pytest.mark.parametrize("event", ["room.join", "chat.send", "chat.history", "chat.typing"])
async def test_a_room_of_others_does_not_exist(
    world: World, sockets: Sockets, ada: User, grace: User, event: str
) -> None:
    room = await a_room(world, ada, RoomKind.PRIVATE)
    async with await sockets.client(grace) as client:
        for room_id in (str(room.id), UNKNOWN):
            ack = await client.call(event, {"room": room_id, "text": "hi"})
            assert ack["error"]["code"] == NOT_ALLOWED
            assert ack["error"]["data"].replace(room_id, "…") == "There is no room …"


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("room.join", None),
        ("room.join", {}),
        ("room.join", {"room": "tea"}),
        ("room.join", {"room": 7}),
        ("room.join", {"room": b"x"}),
        ("room.join", [UNKNOWN]),
        ("chat.send", {"room": UNKNOWN}),
        ("chat.send", {"room": UNKNOWN, "text": 7}),
        ("chat.send", {"room": UNKNOWN, "text": b"hi"}),
        ("chat.send", {"room": UNKNOWN, "text": "x" * 4001}),
        ("chat.send", {"room": UNKNOWN, "text": "hi", "id": "7"}),
        ("chat.history", {"room": UNKNOWN, "after": -1}),
        ("chat.history", {"room": UNKNOWN, "after": 2**64}),
        ("chat.history", {"room": UNKNOWN, "before": 0}),
        ("chat.history", {"room": UNKNOWN, "limit": 101}),
    ],
)
async def test_a_wrong_payload_is_named(
    sockets: Sockets, ada: User, event: str, payload: object
) -> None:
    async with await sockets.client(ada) as client:
        assert (await client.call(event, payload))["error"]["code"] == INVALID


@pytest.mark.parametrize("text", ["", "  ", "a\x00b", "\ud800"])
async def test_a_text_that_is_no_message_is_refused(
    world: World, sockets: Sockets, ada: User, text: str
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(ada) as client:
        assert (await say(client, room, text))["error"]["code"] == INVALID


@pytest.mark.parametrize("event", ["room.join", "chat.send", "chat.history", "chat.typing"])
async def test_the_events_of_rooms_take_permissions(
    world: World, sockets: Sockets, ada: User, event: str
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(await world.given(a_user())) as client:
        ack = await client.call(event, {"room": str(room.id), "text": "hi"})
        assert ack["error"]["data"] == f"This needs the permission EVENT:{event}"


async def test_a_user_who_may_not_join_rooms_any_more_is_removed_from_them(
    world: World, sockets: Sockets, ada: User, grace: User
) -> None:
    room = await a_room(world, ada)
    async with await sockets.client(ada) as hers, await sockets.client(grace) as other:
        for client in (hers, other):
            await joined(client, room)
        async with world.changing([grace.id]) as uow:
            await uow.roles.assign(grace.id, [])
        await sockets.realtime.sweeper.sweep()

        assert (await other.receive("error"))["data"] == "This needs the permission EVENT:room.join"
        await say(hers, room, "hi")
        await hers.receive("chat.receive")
        assert not other.has_received("chat.receive")
        assert other.is_connected


async def test_a_user_who_is_removed_from_a_room_gets_no_more_events_of_it(
    world: World, sockets: Sockets, ada: User, grace: User
) -> None:
    room = await a_room(world, ada, RoomKind.PRIVATE)
    caller, _ = await world.log_in_as(ada)
    async with await sockets.client(ada) as hers, await sockets.client(grace) as other:
        await world.container.add_member()(caller, room.id, grace.id)
        assert (await other.receive("notification"))["room"] == str(room.id)
        for client in (hers, other):
            await joined(client, room)
        await world.container.remove_member()(caller, room.id, grace.id)
        await say(hers, room, "hi")

        await hers.receive("chat.receive")
        assert not other.has_received("chat.receive")


async def test_all_connections_learn_that_their_room_is_deleted_and_leave_it(
    world: World, sockets: Sockets, ada: User, grace: User
) -> None:
    room, other_room = await a_room(world, ada), await a_room(world, ada)
    async with await sockets.client(ada) as hers, await sockets.client(grace) as other:
        for client in (hers, other):
            await joined(client, other_room)
        await joined(other, room)
        await world.container.delete_room()(await caller_of(world, ada), room.id)

        assert await other.receive("room.deleted") == {"room": str(room.id)}
        assert (await say(other, room, "hi"))["error"]["code"] == NOT_ALLOWED
        assert (await joined(other, room))["error"]["code"] == NOT_ALLOWED
        await say(other, other_room, "hi")
        await hers.receive("chat.receive")
        assert not hers.has_received("room.deleted")
        emitter = world.container.event_emitter()
        await emitter.emit("late", {}, Audience.room(room.id))
        await emitter.emit("end", {}, Audience.user(grace.id))
        await other.receive("end")
        assert not other.has_received("late")


# --- the registry -------------------------------------------------------------------------------


async def connections(world: World) -> set[str]:
    return {each.id for each in await world.container.list_connections()(limit=100)}


async def test_a_connection_is_registered_as_long_as_it_lasts(
    world: World, sockets: Sockets, ada: User
) -> None:
    async with await sockets.client(ada) as client:
        assert await connections(world) == {client.sid}
    assert await connections(world) == set()


async def test_a_long_user_agent_is_cut(world: World, sockets: Sockets, ada: User) -> None:
    auth = {"token": await sockets.token(ada)}
    async with sockets.with_auth(auth, {"User-Agent": f"{LAPTOP.agent} {'x' * 5_000}"}):
        [connection] = await world.container.list_connections()(limit=2)
    assert len(connection.agent) == 256


async def test_a_refused_connection_is_not_registered(
    world: World, sockets: Sockets, ada: User
) -> None:
    most = world.container.settings().realtime.connections_per_user
    token = await sockets.token(ada)
    clients = [sockets.with_auth({"token": token}) for _ in range(most + 1)]
    for client in clients[:most]:
        await client.__aenter__()

    with pytest.raises(ConnectionRefused) as refused:
        await clients[most].__aenter__()

    assert refused.value.data["data"]["code"] == NOT_ALLOWED
    assert len(await connections(world)) == len(sockets.realtime.local.principals) == most
    for client in clients[:most]:
        await client.__aexit__(None, None, None)


async def test_an_administrator_ends_a_connection(
    world: World, sockets: Sockets, ada: User, grace: User
) -> None:
    caller: Caller = (await world.log_in_as(grace))[0]
    async with await sockets.client(ada) as client:
        await world.container.end_connection()(caller, ConnectionId(client.sid))
        await client.wait_disconnected()
    assert await connections(world) == set()


async def test_entries_that_the_registry_missed_are_made_up_for(
    world: World, sockets: Sockets, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise Unavailable("Redis")

    client = await sockets.client(ada)
    async with client:
        monkeypatch.setattr(world.container.connection_registry(), "close", away)
    assert await connections(world) == {client.sid}
    monkeypatch.undo()

    await sockets.realtime.lease.renew()
    assert await connections(world) == set()


@pytest.mark.parametrize(("failures", "is_dropped"), [(1, False), (5, True)])
async def test_a_process_whose_lease_expired_lets_its_clients_come_back(
    sockets: Sockets, ada: User, failures: int, *, is_dropped: bool
) -> None:
    """Other processes have forgotten its connections, perhaps."""
    left = iter([Unavailable("Redis")] * failures)
    renewed = asyncio.Event()

    async def renew(_process: object) -> None:
        for failure in left:
            raise failure
        renewed.set()

    local: LocalConnections = sockets.realtime.local
    settings = RealtimeSettings(connection_lease=timedelta(seconds=0.3))
    unused: Any = None
    lease = ConnectionLease(local, settings, renew=renew, close=unused, close_all=unused)  # type: ignore[arg-type]
    async with await sockets.client(ada) as client:
        running = asyncio.create_task(lease.run())
        await asyncio.wait_for(renewed.wait(), 5)
        if is_dropped:
            await client.wait_disconnected()
        else:
            assert await client.call("fake.own") == str(ada.id)
        running.cancel()


async def test_a_process_that_stops_forgets_its_connections(world: World, ada: User) -> None:
    async with Sockets(world) as sockets:
        client = await sockets.client(ada)
        await client.__aenter__()
        await sockets.realtime.lease.end()
        assert await connections(world) == set()
        await client.__aexit__(None, None, None)
