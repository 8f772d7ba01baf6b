"""The history of messages in the document store."""

from dataclasses import dataclass
from typing import Protocol

from domain.messages import Draft, History, Message
from domain.rooms import RoomId


@dataclass(frozen=True, slots=True)
class Appended:
    """A stored message, and whether this call stored it."""

    message: Message
    is_new: bool


class MessageHistory(Protocol):
    """The messages of all rooms. They never change, and are deleted with their room.

    All methods raise `Unavailable` if the store is down or slow.
    """

    async def append(self, draft: Draft) -> Appended:
        """Store a message as the next of its room, also while others do so.

        If the room has a message with this id of the same author, return that one. Raise `MessageIdTaken` if it is of
        another author. On `Unavailable` it may have been stored: send it again with the same id.
        """
        ...

    async def delete(self, room_id: RoomId) -> None:
        """Delete all messages of a room to which no more are appended; on `Unavailable`, delete them again."""
        ...

    async def after(self, room_id: RoomId, seq: int, *, limit: int) -> History:
        """Return the first `limit` messages after number `seq`."""
        ...

    async def before(self, room_id: RoomId, seq: int | None, *, limit: int) -> History:
        """Return the last `limit` messages before number `seq`, or the last ones of all."""
        ...
