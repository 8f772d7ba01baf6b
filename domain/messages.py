"""Messages of rooms: their order, and what their text may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from domain.errors import Conflict, Invalid
from domain.rooms import Person, RoomId
from domain.text import is_storable

MessageId = NewType("MessageId", UUID)

LONGEST_HISTORY = 100
"""So many messages may be read at once."""

LAST_SEQ = 2**63 - 1
"""The largest number of a message: stores have 8 bytes for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message before it has its place in the room."""

    id: MessageId
    """Unique in its room. A client that sends the message again, because no answer came, sends the same id."""
    room: RoomId
    author: Person
    text: str
    at: datetime

    def __post_init__(self) -> None:
        # The precision of the stores, so that a message is equal to what is read again.
        object.__setattr__(
            self, "at", self.at.replace(microsecond=self.at.microsecond // 1000 * 1000)
        )
        if not self.text.strip():
            raise InvalidMessage("is empty")
        if not is_storable(self.text):
            raise InvalidMessage("has a character that cannot be stored")

    def numbered(self, seq: int) -> "Message":
        """Return the message that this becomes at its place in the room."""
        return Message(
            id=self.id, room=self.room, author=self.author, text=self.text, at=self.at, seq=seq
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Draft):
    """What a user said in a room.

    `seq` numbers the messages of a room from 1 without gaps. Once one can be read, so can all before it.
    """

    seq: int


@dataclass(frozen=True, slots=True)
class History:
    """Messages of one room, one after the other, in ascending order."""

    messages: Sequence[Message]
    more: bool
    """Whether there are further messages in the requested direction."""


def check_length(text: str, longest: int) -> None:
    """Raise `InvalidMessage` if the text has more than `longest` characters."""
    if len(text) > longest:
        raise InvalidMessage(f"has {len(text)} characters, and {longest} is the most")


class InvalidMessage(Invalid):
    """The text of a message breaks a rule."""

    code = "messages.invalid"

    def __init__(self, problem: str) -> None:
        super().__init__(f"The text {problem}", field="text")


class AmbiguousHistory(Invalid):
    """A request has both a number after which and one before which the messages are."""

    code = "messages.ambiguous_history"

    def __init__(self) -> None:
        super().__init__("Ask for what came after a number or before one, not both", field="before")


class MessageIdTaken(Conflict):
    """Another message of the room has this id."""

    code = "messages.id_taken"

    def __init__(self, message_id: MessageId) -> None:
        super().__init__(f"Another message of the room has the id {message_id}")
