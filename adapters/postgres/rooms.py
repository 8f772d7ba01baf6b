"""`RoomRepository` in the tables `rooms` and `room_members`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    Index,
    Row,
    Select,
    Table,
    Text,
    Uuid,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert

from adapters.postgres.table_gateway import OrderBy, TableGateway
from adapters.postgres.tables import Key, metadata
from adapters.postgres.transaction import Transaction
from adapters.postgres.user_tables import users
from application.paging import MOST_COUNTED, Page, PageRequest, Sort
from application.ports.rooms import RoomRepository
from domain.identity import UserId, UserNotFound
from domain.rooms import Person, Room, RoomId, RoomKind, RoomName, RoomNotFound

rooms = Table(
    "rooms",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_key", Key, nullable=False),
    Column("kind", Text, nullable=False),
    Column("owner", Uuid, ForeignKey("users.id", ondelete="SET NULL")),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("kind IN ('open', 'private')", name="kind"),
)
# A literal, not a parameter: with a parameter the planner cannot tell that the partial indexes apply.
_IS_OPEN = rooms.c.kind == literal(RoomKind.OPEN.value, literal_execute=True)
Index("ix_rooms_owner", rooms.c.owner)
Index("ix_rooms_open_name", rooms.c.name_key, rooms.c.id, postgresql_where=_IS_OPEN)
Index("ix_rooms_open_created_at", rooms.c.created_at, rooms.c.id, postgresql_where=_IS_OPEN)

room_members = Table(
    "room_members",
    metadata,
    Column("room_id", Uuid, ForeignKey("rooms.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Index("ix_room_members_user_id", "user_id"),
)

deleted_rooms = Table(
    "deleted_rooms",
    metadata,
    # Those whose messages are still to be deleted: few, and soon none.
    Column("id", Uuid, primary_key=True),
    Column("deleted_at", DateTime(timezone=True), nullable=False),
)

_SORTS: Mapping[str, Sequence[Column[Any]]] = {
    "name": (rooms.c.name_key, rooms.c.id),
    "created_at": (rooms.c.created_at, rooms.c.id),
}


class PostgresRoomRepository(RoomRepository):
    """The rooms and members of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._rooms = TableGateway(transaction, rooms, to_row=to_row, of_row=to_room)

    async def add(self, room: Room) -> None:
        gone = None if room.owner is None else UserNotFound(room.owner)
        await self._rooms.add(room, conflicts={"fk_rooms_owner": gone} if gone else None)
        if room.is_private and room.owner is not None:
            await self.add_member(room.id, room.owner)

    async def find(self, room_id: RoomId, *, seen_by: UserId) -> Room | None:
        return await self._rooms.find(rooms.c.id == room_id, _may_enter(seen_by))

    async def lock(self, room_id: RoomId, *, seen_by: UserId) -> Room:
        # Whether the user is a member is read again once the lock is there, or a removed member could go on.
        await self._rooms.lock(rooms.c.id == room_id)
        room = await self.find(room_id, seen_by=seen_by)
        if room is None:
            raise RoomNotFound(room_id)
        return room

    async def delete(self, room_id: RoomId, *, at: datetime) -> None:
        await self._delete(rooms.c.id == room_id, at=at)

    async def delete_with_last_member(self, user_id: UserId, *, at: datetime) -> None:
        others = (room_members.c.room_id == rooms.c.id, room_members.c.user_id != user_id)
        await self._delete(
            rooms.c.id.in_(select(room_members.c.room_id).where(room_members.c.user_id == user_id)),
            ~exists().where(*others),
            at=at,
        )

    async def deleted(self, *, before: datetime, limit: int) -> Sequence[RoomId]:
        found = await self._transaction.read(
            select(deleted_rooms.c.id).where(deleted_rooms.c.deleted_at < before).limit(limit)
        )
        return [RoomId(row.id) for row in found]

    async def forget(self, room_id: RoomId) -> None:
        await self._transaction.write(delete(deleted_rooms).where(deleted_rooms.c.id == room_id))

    async def page(self, page: PageRequest, *, seen_by: UserId) -> Page[Room]:
        sort = page.sort or Sort("name")
        order = OrderBy(_SORTS[sort.by], descending=sort.descending)
        # Two branches, each with an index, where one condition with OR would read the private rooms of everybody.
        # Each gives no more than the page needs.
        branches = [
            branch.order_by(*order.within(rooms)).limit(page.offset + page.size).subquery()
            for branch in _seen_by(seen_by)
        ]
        seen = union_all(*(select(branch) for branch in branches)).subquery()
        found = await self._transaction.read(
            select(seen).order_by(*order.within(seen)).limit(page.size).offset(page.offset)
        )
        records = [to_room(row) for row in found]
        counted = union_all(
            *(branch.with_only_columns(true()).limit(MOST_COUNTED) for branch in _seen_by(seen_by))
        ).subquery()
        total = await self._transaction.read(select(func.count()).select_from(counted))
        return Page(records, min(total.scalar_one(), MOST_COUNTED))

    async def count_owned(self, owner: UserId) -> int:
        return await self._rooms.count(rooms.c.owner == owner)

    async def add_member(self, room_id: RoomId, user_id: UserId) -> bool:
        added = await self._transaction.write(
            insert(room_members).values(room_id=room_id, user_id=user_id).on_conflict_do_nothing(),
            conflicts={"fk_room_members_user_id": UserNotFound(user_id)},
        )
        return added.rowcount == 1

    async def remove_member(self, room_id: RoomId, user_id: UserId) -> bool:
        removed = await self._transaction.write(
            delete(room_members).where(*_membership(room_id, user_id))
        )
        return removed.rowcount == 1

    async def members(self, room_id: RoomId, page: PageRequest) -> Page[Person]:
        by_name = OrderBy(
            (users.c.name_key, users.c.id),
            descending=page.sort is not None and page.sort.descending,
        )
        found = await self._transaction.read(
            select(users.c.id, users.c.name)
            .join(room_members, room_members.c.user_id == users.c.id)
            .where(room_members.c.room_id == room_id)
            .order_by(*by_name.within(users))
            .limit(page.size)
            .offset(page.offset)
        )
        people = [Person(id=UserId(row.id), name=row.name) for row in found]
        return Page(people, min(await self.count_members(room_id), MOST_COUNTED))

    async def count_members(self, room_id: RoomId) -> int:
        counted = await self._transaction.read(
            select(func.count()).where(room_members.c.room_id == room_id)
        )
        return int(counted.scalar_one())

    async def _delete(self, *conditions: ColumnElement[bool], at: datetime) -> None:
        gone = delete(rooms).where(*conditions).returning(rooms.c.id).cte()
        await self._transaction.write(
            insert(deleted_rooms).from_select(
                ["id", "deleted_at"], select(gone.c.id, literal(at, DateTime(timezone=True)))
            )
        )


def to_row(room: Room) -> dict[str, Any]:
    """Return the row of a room."""
    return {
        "id": room.id,
        "name": room.name.value,
        "name_key": room.name.key,
        "kind": room.kind.value,
        "owner": room.owner,
        "created_at": room.created_at,
    }


def to_room(row: Row[Any]) -> Room:
    """Return the room of a row."""
    return Room(
        id=RoomId(row.id),
        name=RoomName(row.name),
        kind=RoomKind(row.kind),
        owner=None if row.owner is None else UserId(row.owner),
        created_at=row.created_at,
    )


def _membership(room_id: object, user_id: UserId) -> Sequence[ColumnElement[bool]]:
    return room_members.c.room_id == room_id, room_members.c.user_id == user_id


def _may_enter(user_id: UserId) -> ColumnElement[bool]:
    return or_(_IS_OPEN, exists().where(*_membership(rooms.c.id, user_id)))


def _seen_by(user_id: UserId) -> Sequence[Select[Any]]:
    """Return the open rooms, and the private ones of a user."""
    return (
        select(rooms).where(_IS_OPEN),
        select(rooms)
        .join(room_members, room_members.c.room_id == rooms.c.id)
        .where(room_members.c.user_id == user_id, ~_IS_OPEN),
    )
