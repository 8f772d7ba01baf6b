"""Rooms of one unit of work, and their members."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from application.paging import Page, PageRequest
from domain.identity import UserId
from domain.rooms import Person, Room, RoomId


class RoomRepository(Protocol):
    """Rooms of one unit of work. A deleted user is no owner and no member any more."""

    async def add(self, room: Room) -> None:
        """Store a new room, and its owner as the first member if it is private; raise `UserNotFound`."""
        ...

    async def find(self, room_id: RoomId, *, seen_by: UserId) -> Room | None:
        """Return the room if that user may enter it, or None."""
        ...

    async def lock(self, room_id: RoomId, *, seen_by: UserId) -> Room:
        """Lock the members of the room until this unit of work ends; raise `RoomNotFound` as `find` returns None."""
        ...

    async def delete(self, room_id: RoomId, *, at: datetime) -> None:
        """Delete a locked room and its members, and note that its messages are to be deleted."""
        ...

    async def delete_with_last_member(self, user_id: UserId, *, at: datetime) -> None:
        """Delete, likewise, the private rooms whose only member a user is. First `lock_access(to_change=True)`."""
        ...

    async def deleted(self, *, before: datetime, limit: int) -> Sequence[RoomId]:
        """Return at most `limit` of the rooms that were deleted before that time and are not forgotten."""
        ...

    async def forget(self, room_id: RoomId) -> None:
        """Forget a deleted room, whose messages are deleted too."""
        ...

    async def page(self, page: PageRequest, *, seen_by: UserId) -> Page[Room]:
        """Return one page of the rooms which that user may enter, ordered by name."""
        ...

    async def count_owned(self, owner: UserId) -> int:
        """Return how many rooms a user has created."""
        ...

    async def add_member(self, room_id: RoomId, user_id: UserId) -> bool:
        """Make a user a member of a locked room; return False if they are one. Raise `UserNotFound`."""
        ...

    async def remove_member(self, room_id: RoomId, user_id: UserId) -> bool:
        """End the membership of a user in a locked room; return False if there was none."""
        ...

    async def members(self, room_id: RoomId, page: PageRequest) -> Page[Person]:
        """Return one page of the members, ordered by name."""
        ...

    async def count_members(self, room_id: RoomId) -> int:
        """Return how many members the room has."""
        ...
