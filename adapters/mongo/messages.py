"""The history of messages in MongoDB.

Of those who append to a room at once, each tries to take the number after the last one; the unique `_id` lets one of
them, and the others try the next. A counter would be simpler, but a number could be taken long before its message can
be read, or for ever: then a client that asks for the messages after a number would miss that one.
"""

import asyncio
from weakref import WeakValueDictionary

from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError

from adapters.bounded_cache import BoundedCache
from adapters.mongo.client import Document, MongoClient
from adapters.mongo.errors import unavailable_when_down
from adapters.mongo.indexes import ensure_indexes
from application.ports.messages import Appended, MessageHistory
from application.settings import MongoSettings
from domain.errors import Unavailable
from domain.identity import UserId
from domain.messages import Draft, History, Message, MessageId, MessageIdTaken
from domain.rooms import Person, RoomId

_BY_MESSAGE_ID = IndexModel([("room", 1), ("id", 1)], unique=True)

_KNOWN_ROOMS = 10_000
_ATTEMPTS = 100
_DELETED_AT_ONCE = 1_000
_LAST = 2**63 - 1


class MongoMessageHistory(MessageHistory):
    """One document per message, in the collection `messages`."""

    def __init__(self, client: MongoClient, settings: MongoSettings) -> None:
        self._messages = client[settings.database]["messages"]
        self._indexed: asyncio.Task[None] | None = None
        # Where to look for the end of a room. It is never beyond it, and may be long before.
        self._last_known = BoundedCache[RoomId, int](_KNOWN_ROOMS)
        # In this process only one at a time appends to a room: the others would only get in its way.
        self._locks = WeakValueDictionary[RoomId, asyncio.Lock]()

    async def append(self, draft: Draft) -> Appended:
        await self._ensure_indexes()
        lock = self._locks.setdefault(draft.room, asyncio.Lock())
        async with lock:
            return await self._append(draft)

    async def _append(self, draft: Draft) -> Appended:
        last = self._last_known.get(draft.room)
        for _ in range(_ATTEMPTS):
            if last is None:
                last = await self._find_last(draft.room)
            message = draft.numbered(last + 1)
            try:
                with unavailable_when_down():
                    await self._messages.insert_one(to_document(message))
            except DuplicateKeyError:
                if known := await self._find(draft):
                    return Appended(known, is_new=False)
                last = None
                continue
            self._last_known.put(draft.room, message.seq)
            return Appended(message, is_new=True)
        raise Unavailable("MongoDB", reason="too many messages are sent to one room")

    async def delete(self, room_id: RoomId) -> None:
        # In parts, so that each takes less than the time-out, however many messages there are.
        place = {"$gte": _place(room_id, 0), "$lte": _place(room_id, _LAST)}
        while True:
            with unavailable_when_down():
                cursor = self._messages.find(
                    {"_id": place}, {"_id": 1}, sort=[("_id", 1)], limit=_DELETED_AT_ONCE
                )
                found = [each["_id"] for each in await cursor.to_list(None)]
                if not found:
                    return
                await self._messages.delete_many({"_id": {"$gte": found[0], "$lte": found[-1]}})

    async def after(self, room_id: RoomId, seq: int, *, limit: int) -> History:
        first = min(max(seq, 0), _LAST - limit - 2) + 1
        # One more than requested. Without gaps, the range is as long as the answer.
        found = await self._range(room_id, first, first + limit + 1)
        return History(found[:limit], more=len(found) > limit)

    async def before(self, room_id: RoomId, seq: int | None, *, limit: int) -> History:
        end = _LAST if seq is None else max(seq, 1)
        if end > (self._last_known.get(room_id) or 0):
            end = min(end, await self._find_last(room_id) + 1)
        first = max(end - limit, 1)
        return History(await self._range(room_id, first, end), more=first > 1)

    async def _find(self, draft: Draft) -> Message | None:
        with unavailable_when_down():
            found = await self._messages.find_one({"room": draft.room, "id": draft.id})
        if found is None:
            return None
        if found["author"]["id"] != draft.author.id:
            raise MessageIdTaken(draft.id)
        return to_message(found)

    async def _find_last(self, room_id: RoomId) -> int:
        known = self._last_known.get(room_id) or 0
        place = {"$gte": _place(room_id, known), "$lte": _place(room_id, _LAST)}
        with unavailable_when_down():
            found = await self._messages.find_one({"_id": place}, {"_id": 1}, sort=[("_id", -1)])
        last = _seq(found["_id"]) if found else 0
        if last:
            self._last_known.put(room_id, last)
        return last

    async def _range(self, room_id: RoomId, first: int, end: int) -> list[Message]:
        place = {"$gte": _place(room_id, first), "$lt": _place(room_id, end)}
        with unavailable_when_down():
            cursor = self._messages.find({"_id": place}, sort=[("_id", 1)])
            return [to_message(document) for document in await cursor.to_list(None)]

    async def _ensure_indexes(self) -> None:
        """Create the index before the first message, for without it a message sent twice would be stored twice."""
        if self._indexed is None or (self._indexed.done() and self._indexed.exception()):
            self._indexed = asyncio.create_task(ensure_indexes(self._messages, [_BY_MESSAGE_ID]))
        await asyncio.shield(self._indexed)


def to_document(message: Message) -> Document:
    """Return the stored document."""
    return {
        "_id": _place(message.room, message.seq),
        "room": message.room,
        "id": message.id,
        "author": {"id": message.author.id, "name": message.author.name},
        "text": message.text,
        "at": message.at,
    }


def to_message(document: Document) -> Message:
    """Return the message of a document."""
    author = document["author"]
    return Message(
        id=MessageId(document["id"]),
        room=RoomId(document["room"]),
        seq=_seq(document["_id"]),
        author=Person(id=UserId(author["id"]), name=author["name"]),
        text=document["text"],
        at=document["at"],
    )


def _place(room_id: RoomId, seq: int) -> bytes:
    """Return the room, 16 bytes, and the number, 8 bytes: the messages of a room are one range of `_id`."""
    return room_id.bytes + seq.to_bytes(8, "big")


def _seq(place: bytes) -> int:
    return int.from_bytes(place[16:], "big")
