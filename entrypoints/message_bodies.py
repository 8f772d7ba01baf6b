"""Messages and their authors, as clients get them over HTTP and over Socket.IO alike."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field

from domain.messages import History, Message
from domain.rooms import Person


class PersonBody(BaseModel, extra="forbid"):
    """A user as others in a room see them."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"])
    name: str = Field(examples=["Ada Lovelace"])

    @classmethod
    def of(cls, person: Person) -> Self:
        """Present `person`."""
        return cls(id=person.id, name=person.name)


class MessageBody(BaseModel, extra="forbid"):
    """What a user said in a room; the event `chat.receive` has the same fields."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b31"])
    room: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b30"])
    seq: int = Field(
        description="The number of the message in its room, from 1, without gaps.", examples=[1]
    )
    user: PersonBody
    text: str = Field(examples=["Hello"])
    at: datetime = Field(examples=["2026-01-01T00:00:00Z"])

    @classmethod
    def of(cls, message: Message) -> Self:
        """Present `message`."""
        return cls(
            id=message.id,
            room=message.room,
            seq=message.seq,
            user=PersonBody.of(message.author),
            text=message.text,
            at=message.at,
        )


class HistoryBody(BaseModel, extra="forbid"):
    """Messages of a room, in ascending order."""

    messages: Sequence[MessageBody]
    more: bool = Field(
        description="Whether there are further messages in the requested direction.",
        examples=[False],
    )

    @classmethod
    def of(cls, history: History) -> Self:
        """Present `history`."""
        return cls(
            messages=[MessageBody.of(message) for message in history.messages], more=history.more
        )
