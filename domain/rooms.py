"""Rooms: where users talk, who may enter, and the errors about them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, NewType
from uuid import UUID

from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.identity import UserId
from domain.text import casefold_key, nfc_stripped, problem_with

RoomId = NewType("RoomId", UUID)


class RoomKind(StrEnum):
    """Who may enter a room."""

    OPEN = "open"
    """Every user."""
    PRIVATE = "private"
    """Its members. To everybody else it does not exist."""


@dataclass(frozen=True, slots=True)
class RoomName:
    """The name of a room: 1 to 100 characters on one line. Several rooms may have the same one."""

    LENGTH: ClassVar = (1, 100)

    value: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", nfc_stripped(self.value))
        problem = problem_with(self.value, *self.LENGTH)
        if problem is not None:
            raise InvalidRoomName(problem)

    @property
    def key(self) -> str:
        """The form in which names are ordered."""
        return casefold_key(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A place where users send messages to each other."""

    id: RoomId
    name: RoomName
    kind: RoomKind
    owner: UserId | None
    """The user who created it; None if they were deleted."""
    created_at: datetime

    @property
    def is_private(self) -> bool:
        """Whether only members may enter."""
        return self.kind is RoomKind.PRIVATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user as others in a room see them."""

    id: UserId
    name: str


class InvalidRoomName(Invalid):
    """The name of a room breaks a rule."""

    code = "rooms.invalid_name"

    def __init__(self, problem: str) -> None:
        super().__init__(f"The room's name {problem}", field="name")


class RoomNotFound(NotFound):
    """There is no such room, or it is private and the caller is no member."""

    code = "rooms.not_found"

    def __init__(self, room_id: RoomId) -> None:
        super().__init__(f"There is no room {room_id}")
        self.room_id = room_id


class MemberNotFound(NotFound):
    """The user is no member of this room."""

    code = "rooms.member_not_found"

    def __init__(self, user_id: UserId) -> None:
        super().__init__(f"The room has no member {user_id}")
        self.user_id = user_id


class RoomHasNoMembers(Conflict):
    """The room is open: everybody may enter, so that it has no list of members."""

    code = "rooms.no_members"

    def __init__(self, room_id: RoomId) -> None:
        super().__init__(f"The room {room_id} is open to everybody and has no members")


class TooManyMembers(Conflict):
    """The room has as many members as a room may have."""

    code = "rooms.too_many_members"

    def __init__(self, most: int) -> None:
        super().__init__(f"A room may have {most} members, and this one has as many")


class TooManyRooms(Conflict):
    """The user has created as many rooms as a user may."""

    code = "rooms.too_many"

    def __init__(self, most: int) -> None:
        super().__init__(f"A user may have {most} rooms of their own")


class NotTheOwner(Forbidden):
    """Only the owner of a room may remove other members, and delete it."""

    code = "rooms.not_the_owner"

    def __init__(self) -> None:
        super().__init__("Only the owner of the room can do this")
