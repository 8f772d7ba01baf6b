"""`MessageHistory` keeps its promises in memory and in MongoDB."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.memory.messages import MemoryMessageHistory
from adapters.mongo.client import mongo_client
from adapters.mongo.messages import MongoMessageHistory
from application.ports.messages import MessageHistory
from application.settings import MongoSettings
from domain.messages import History, Message, MessageIdTaken
from tests.support.builders import a_draft, a_person, a_room_id

ROOM, OTHER = a_room_id(), a_room_id()


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.server)])
async def histories(request: pytest.FixtureRequest) -> AsyncIterator[Sequence[MessageHistory]]:
    """Return the history as three processes have it."""
    if request.param == "memory":
        yield [MemoryMessageHistory()] * 3
        return
    mongo = MongoSettings(
        url=request.getfixturevalue("mongo_url"),
        database=request.getfixturevalue("mongo_database"),
        timeout=timedelta(seconds=30),
    )
    clients = [mongo_client(mongo) for _ in range(3)]
    yield [MongoMessageHistory(client, mongo) for client in clients]
    for client in clients:
        client.close()


@pytest.fixture
def history(histories: Sequence[MessageHistory]) -> MessageHistory:
    return histories[0]


async def given_messages(history: MessageHistory, count: int) -> list[Message]:
    return [(await history.append(a_draft(ROOM))).message for _ in range(count)]


async def test_messages_are_numbered_in_each_room_from_1(history: MessageHistory) -> None:
    rooms = [ROOM, OTHER, ROOM, ROOM, OTHER]
    assert [(await history.append(a_draft(room))).message.seq for room in rooms] == [1, 1, 2, 3, 2]


@pytest.mark.parametrize("text", ["a\nb\tc", "🦊 ünïcödé", "$set", "x" * 100_000, "{a.b}"])
async def test_a_message_is_read_as_it_was_sent(history: MessageHistory, text: str) -> None:
    draft = a_draft(ROOM, text=text)
    appended = await history.append(draft)

    assert appended.is_new
    assert appended.message == draft.numbered(1)
    assert await history.after(ROOM, 0, limit=10) == History([appended.message], more=False)


async def test_a_message_that_is_sent_again_is_stored_once(
    histories: Sequence[MessageHistory],
) -> None:
    draft = a_draft(ROOM)
    first = await histories[0].append(draft)
    await histories[0].append(a_draft(ROOM))

    for history in histories:
        again = await history.append(replace(draft, text="another text", at=draft.at))
        assert (again.message, again.is_new) == (first.message, False)
    assert len((await histories[0].after(ROOM, 0, limit=10)).messages) == 2


async def test_the_same_message_from_many_at_once_is_stored_once(
    histories: Sequence[MessageHistory],
) -> None:
    draft = a_draft(ROOM)
    appended = await asyncio.gather(*(each.append(draft) for each in [*histories] * 5))

    assert {each.message for each in appended} == {draft.numbered(1)}
    assert [each.is_new for each in appended].count(True) == 1


async def test_the_id_of_a_message_of_another_user_is_refused(history: MessageHistory) -> None:
    draft = a_draft(ROOM)
    await history.append(draft)

    with pytest.raises(MessageIdTaken):
        await history.append(replace(draft, author=a_person()))
    assert len((await history.after(ROOM, 0, limit=10)).messages) == 1


async def test_an_id_may_be_used_in_another_room(history: MessageHistory) -> None:
    draft = a_draft(ROOM)
    await history.append(draft)

    assert (await history.append(replace(draft, room=OTHER))).is_new


async def test_concurrent_senders_leave_no_gap_and_share_no_number(
    histories: Sequence[MessageHistory],
) -> None:
    drafts = [a_draft(ROOM) for _ in range(60)]
    appended = await asyncio.gather(
        *(histories[n % 3].append(draft) for n, draft in enumerate(drafts))
    )

    assert sorted(each.message.seq for each in appended) == [*range(1, 61)]
    read = (await histories[0].after(ROOM, 0, limit=100)).messages
    assert list(read) == sorted((each.message for each in appended), key=lambda one: one.seq)


async def test_once_a_message_can_be_read_so_can_all_before_it(
    histories: Sequence[MessageHistory],
) -> None:
    """Otherwise a client that asks for what came after the last one it has would miss one."""
    reader, *writers = histories
    read: list[int] = []
    sending = asyncio.gather(*(each.append(a_draft(ROOM)) for each in writers * 20))
    while len(read) < 40:
        found = await reader.after(ROOM, len(read), limit=7)
        read += [message.seq for message in found.messages]
        await asyncio.sleep(0)
    await sending

    assert read == [*range(1, 41)]


async def test_messages_after_a_number_are_read_in_order_and_say_whether_there_are_more(
    history: MessageHistory,
) -> None:
    sent = await given_messages(history, 5)

    assert await history.after(ROOM, 0, limit=2) == History(sent[:2], more=True)
    assert await history.after(ROOM, 2, limit=2) == History(sent[2:4], more=True)
    assert await history.after(ROOM, 3, limit=2) == History(sent[3:], more=False)
    assert await history.after(ROOM, 4, limit=2) == History(sent[4:], more=False)


async def test_messages_before_a_number_are_read_in_order_and_say_whether_there_are_more(
    histories: Sequence[MessageHistory],
) -> None:
    sent = await given_messages(histories[0], 5)

    for history in histories:
        assert await history.before(ROOM, None, limit=2) == History(sent[3:], more=True)
        assert await history.before(ROOM, 4, limit=2) == History(sent[1:3], more=True)
        assert await history.before(ROOM, 2, limit=2) == History(sent[:1], more=False)
        assert await history.before(ROOM, None, limit=5) == History(sent, more=False)


@pytest.mark.parametrize("seq", [-(2**70), -1, 0, 1, 2, 3, 2**31, 2**63, 2**70])
async def test_any_number_may_be_asked_for(histories: Sequence[MessageHistory], seq: int) -> None:
    (only,) = await given_messages(histories[0], 1)

    for history in histories:
        for room, sent in ((ROOM, [only]), (OTHER, [])):
            after = [] if seq >= 1 else sent
            before = sent if seq > 1 else []
            assert await history.after(room, seq, limit=10) == History(after, more=False)
            assert await history.before(room, seq, limit=10) == History(before, more=False)


async def test_all_messages_of_a_room_are_deleted_and_those_of_others_stay(
    histories: Sequence[MessageHistory], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.mongo.messages._DELETED_AT_ONCE", 2)
    await given_messages(histories[0], 5)
    other = (await histories[0].append(a_draft(OTHER))).message

    for _ in range(2):
        await histories[0].delete(ROOM)

    for history in histories:
        assert await history.after(ROOM, 0, limit=10) == History([], more=False)
        assert await history.before(ROOM, None, limit=10) == History([], more=False)
        assert await history.after(OTHER, 0, limit=10) == History([other], more=False)
