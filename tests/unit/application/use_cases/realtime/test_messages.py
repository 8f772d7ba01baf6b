"""Messages: sending, reading, typing."""

import asyncio

import pytest

from adapters.memory.messages import MemoryMessageHistory
from application.ports.event_emitter import Audience
from application.ports.messages import Appended
from application.use_cases.caller import Caller
from domain.connections import ConnectionId, ProcessId
from domain.identity import PersonName
from domain.messages import AmbiguousHistory, Draft, InvalidMessage, MessageId, MessageIdTaken
from domain.rooms import Room, RoomKind, RoomNotFound
from tests.support.builders import a_room, a_room_id, a_user, a_uuid
from tests.support.events import Events
from tests.support.world import World


@pytest.fixture
async def ada(world: World) -> Caller:
    caller, _ = await world.log_in_as(await world.given(a_user(name="Ada")))
    return caller


@pytest.fixture
async def lobby(world: World) -> Room:
    return await world.given_room(a_room())


async def test_a_message_reaches_the_room_with_all_that_clients_need(
    world: World, ada: Caller, lobby: Room
) -> None:
    events = Events(world)
    message = await world.container.send_message()(ada, lobby.id, "Hello 🦊\n")

    assert events.sent("chat.receive") == [
        (
            f"room:{lobby.id}",
            {
                "id": str(message.id),
                "room": str(lobby.id),
                "seq": 1,
                "user": {"id": str(ada.user_id), "name": "Ada"},
                "text": "Hello 🦊\n",
                "at": "2026-03-01T12:00:00Z",
            },
        )
    ]


async def test_a_message_that_is_sent_again_is_stored_and_emitted_once(
    world: World, ada: Caller, lobby: Room
) -> None:
    events = Events(world)
    send = world.container.send_message()
    message_id = MessageId(a_uuid())
    first = await send(ada, lobby.id, "Hello", message_id=message_id)

    assert await send(ada, lobby.id, "Hello", message_id=message_id) == first
    assert len(events.sent("chat.receive")) == 1


@pytest.mark.parametrize("text", ["", " \n\t", "a\0b", "\ud800", "x" * 4001])
async def test_a_text_that_breaks_a_rule_is_refused(
    world: World, ada: Caller, lobby: Room, text: str
) -> None:
    with pytest.raises(InvalidMessage):
        await world.container.send_message()(ada, lobby.id, text)


async def test_the_id_of_a_message_of_another_user_is_refused(
    world: World, ada: Caller, lobby: Room
) -> None:
    bob, _ = await world.log_in_as(await world.given(a_user()))
    send = world.container.send_message()
    message = await send(ada, lobby.id, "Hello")

    with pytest.raises(MessageIdTaken):
        await send(bob, lobby.id, "Forged", message_id=message.id)


async def test_a_user_who_may_not_enter_a_room_neither_sends_nor_reads(
    world: World, ada: Caller
) -> None:
    private = await world.given_room(a_room(kind=RoomKind.PRIVATE))

    for room_id in (private.id, a_room_id()):
        with pytest.raises(RoomNotFound):
            await world.container.send_message()(ada, room_id, "Hello")
        with pytest.raises(RoomNotFound):
            await world.container.read_history()(ada, room_id, limit=10)


async def test_a_client_that_was_away_reads_what_it_missed(
    world: World, ada: Caller, lobby: Room
) -> None:
    sent = [await world.container.send_message()(ada, lobby.id, f"{n}") for n in range(5)]
    read = world.container.read_history()

    missed = await read(ada, lobby.id, after=2, limit=2)
    assert (list(missed.messages), missed.more) == (sent[2:4], True)
    last = await read(ada, lobby.id, limit=2)
    assert (list(last.messages), last.more) == (sent[3:], True)
    before = await read(ada, lobby.id, before=3, limit=10)
    assert (list(before.messages), before.more) == (sent[:2], False)
    with pytest.raises(AmbiguousHistory):
        await read(ada, lobby.id, after=1, before=3, limit=10)


class SlowHistory(MemoryMessageHistory):
    """Stores at once, and answers the first one last: as if another process had stored it."""

    def __init__(self) -> None:
        super().__init__()
        self.stored, self.released = asyncio.Event(), asyncio.Event()

    async def append(self, draft: Draft) -> Appended:
        appended = await super().append(draft)
        if appended.message.seq == 1:
            self.stored.set()
            await self.released.wait()
        return appended


async def test_messages_are_emitted_in_the_order_of_the_room() -> None:
    """The caller that has stored the later one emits the earlier one first."""
    history = SlowHistory()
    world = World(message_history=history)
    ada, _ = await world.log_in_as(await world.given(a_user()))
    lobby = await world.given_room(a_room())
    send = world.container.send_message()
    await world.container.event_emitter().emit_numbered(
        "before", {}, Audience.room(lobby.id), number=0
    )
    events = Events(world)

    slow = asyncio.create_task(send(ada, lobby.id, "one"))
    await history.stored.wait()
    await send(ada, lobby.id, "two")
    history.released.set()
    await slow
    await send(ada, lobby.id, "three")

    texts = [data["text"] for _, data in events.sent("chat.receive")]
    assert texts == ["one", "two", "three"]
    world.end()


async def test_only_a_connection_in_the_room_shows_that_its_user_types(
    world: World, ada: Caller, lobby: Room
) -> None:
    sid = ConnectionId("a-sid")
    await world.container.open_connection()(ada, sid, ProcessId("a process"))
    events = Events(world)
    with pytest.raises(RoomNotFound):
        await world.container.show_typing()(ada, sid, lobby.id)

    await world.container.join_room()(ada, sid, lobby.id, enter=_nothing, leave=_nothing)
    await world.container.show_typing()(ada, sid, lobby.id)
    assert events.sent("chat.typing") == [
        (
            f"room:{lobby.id}",
            {"room": str(lobby.id), "user": {"id": str(ada.user_id), "name": "Ada"}},
        )
    ]


async def test_a_message_keeps_the_name_that_its_author_had(
    world: World, ada: Caller, lobby: Room
) -> None:
    await world.container.send_message()(ada, lobby.id, "Hello")
    await world.container.update_profile()(ada, name=PersonName("Countess"), email=None)
    await world.container.send_message()(ada, lobby.id, "Hello again")

    read = await world.container.read_history()(ada, lobby.id, limit=10)
    assert [message.author.name for message in read.messages] == ["Ada", "Countess"]


async def _nothing() -> None:
    """Enter or leave a room of Socket.IO."""
