"""Rooms, their users and messages, as clients get them over HTTP and over Socket.IO alike."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field

from domain.messages import History, Message
from domain.rooms import Person, Room, RoomKind

_ROOM_ID = "0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b30"
_USER_ID = "0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"

KindField = Annotated[
    RoomKind,
    Field(
        description="Everybody may enter an open room. A private one exists only for its members.",
        examples=["private"],
    ),
]


class RoomBody(BaseModel, extra="forbid"):
    """A place where users talk."""

    id: UUID = Field(examples=[_ROOM_ID])
    name: str = Field(examples=["Lobby"])
    kind: KindField
    owner: UUID | None = Field(
        description="The user who created it; null if they were deleted.", examples=[_USER_ID]
    )
    created_at: datetime = Field(serialization_alias="createdAt", examples=["2026-01-01T00:00:00Z"])

    @classmethod
    def of(cls, room: Room) -> Self:
        """Present `room`."""
        return cls(
            id=room.id,
            name=room.name.value,
            kind=room.kind,
            owner=room.owner,
            created_at=room.created_at,
        )


class PersonBody(BaseModel, extra="forbid"):
    """A user as others in a room see them."""

    id: UUID = Field(examples=[_USER_ID])
    name: str = Field(examples=["Ada Lovelace"])

    @classmethod
    def of(cls, person: Person) -> Self:
        """Present `person`."""
        return cls(id=person.id, name=person.name)


class MessageBody(BaseModel, extra="forbid"):
    """What a user said in a room; the event `chat.receive` has the same fields."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b31"])
    room: UUID = Field(examples=[_ROOM_ID])
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
