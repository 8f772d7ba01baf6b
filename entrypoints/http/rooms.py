"""Rooms: who may enter them, who is there, and what was said. Messages are sent over the socket."""

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from application.use_cases.realtime.connections import ListPresent
from application.use_cases.realtime.messages import ReadHistory
from application.use_cases.realtime.rooms import (
    AddMember,
    CreateRoom,
    DeleteRoom,
    GetRoom,
    ListMembers,
    ListRooms,
    RemoveMember,
)
from domain.identity import UserId
from domain.messages import LAST_SEQ, LONGEST_HISTORY
from domain.rooms import RoomId, RoomKind, RoomName
from entrypoints.http.envelope import (
    ApiModel,
    CreatedEnvelope,
    Envelope,
    MayBeLeftOut,
    Parsed,
    locate,
)
from entrypoints.http.paging import Page, PageQuery
from entrypoints.http.query_types import Number
from entrypoints.http.router import Router
from entrypoints.http.security import GuardedRoute, VerifyPermissionDep
from entrypoints.room_bodies import HistoryBody, KindField, PersonBody, RoomBody
from entrypoints.wiring import UseCase

router = Router(prefix="/rooms")


# --- bodies -------------------------------------------------------------------------------------

NameField = Annotated[
    RoomName,
    Parsed(RoomName, RoomName.LENGTH),
    Field(
        description="1 to 100 characters on one line. Several rooms may have the same name.",
        examples=["Lobby"],
    ),
]


class CreateRoomBody(ApiModel):
    """A new room."""

    name: NameField
    kind: KindField = RoomKind.OPEN


class HistoryQuery(ApiModel):
    """Which messages: the first ones after a number, the last ones before one, or the last ones of all."""

    after: MayBeLeftOut[Number] = Field(
        default=None, ge=0, le=LAST_SEQ, description="The `seq` of the last message that you have."
    )
    before: MayBeLeftOut[Number] = Field(
        default=None, ge=1, le=LAST_SEQ, description="The `seq` of the first message that you have."
    )
    limit: Number = Field(
        default=50, ge=1, le=LONGEST_HISTORY, description="The largest number of messages."
    )


RoomQuery = PageQuery[Literal["name", "-name", "createdAt", "-createdAt"]]
MemberQuery = PageQuery[Literal["name", "-name"]]


# --- routes -------------------------------------------------------------------------------------


@router.get("", dependencies=[GuardedRoute])
async def list_rooms(
    query: Annotated[RoomQuery, Query()],
    caller: VerifyPermissionDep,
    list_rooms: UseCase[ListRooms],
) -> Envelope[Page[RoomBody]]:
    """List the rooms that the caller may enter. The default order is by name."""
    found = await list_rooms(caller, query.request())
    return Envelope(data=Page.of(found, query, RoomBody.of))


@router.post("", status_code=201, dependencies=[GuardedRoute])
async def create_room(
    body: CreateRoomBody,
    caller: VerifyPermissionDep,
    create_room: UseCase[CreateRoom],
    request: Request,
    response: Response,
) -> CreatedEnvelope[RoomBody]:
    """Create a room. The caller is its owner, and its first member if it is private."""
    room = await create_room(caller, body.name, body.kind)
    locate(request, response, f"rooms/{room.id}")
    return CreatedEnvelope(data=RoomBody.of(room))


@router.get("/{room_id}", dependencies=[GuardedRoute])
async def get_room(
    room_id: UUID, caller: VerifyPermissionDep, get_room: UseCase[GetRoom]
) -> Envelope[RoomBody]:
    """Get a room that the caller may enter."""
    return Envelope(data=RoomBody.of(await get_room(caller, RoomId(room_id))))


@router.delete("/{room_id}", dependencies=[GuardedRoute])
async def delete_room(
    room_id: UUID, caller: VerifyPermissionDep, delete_room: UseCase[DeleteRoom]
) -> Envelope[None]:
    """Delete a room with its messages. Its owner may do this, and administrators who may enter it."""
    await delete_room(caller, RoomId(room_id))
    return Envelope(data=None)


@router.get("/{room_id}/members", dependencies=[GuardedRoute])
async def list_members(
    room_id: UUID,
    query: Annotated[MemberQuery, Query()],
    caller: VerifyPermissionDep,
    list_members: UseCase[ListMembers],
) -> Envelope[Page[PersonBody]]:
    """List the members of a private room, by name."""
    found = await list_members(caller, RoomId(room_id), query.request())
    return Envelope(data=Page.of(found, query, PersonBody.of))


@router.put("/{room_id}/members/{user_id}", dependencies=[GuardedRoute])
async def add_member(
    room_id: UUID, user_id: UUID, caller: VerifyPermissionDep, add_member: UseCase[AddMember]
) -> Envelope[None]:
    """Make a user a member of a private room. Every member may do this."""
    await add_member(caller, RoomId(room_id), UserId(user_id))
    return Envelope(data=None)


@router.delete("/{room_id}/members/{user_id}", dependencies=[GuardedRoute])
async def remove_member(
    room_id: UUID, user_id: UUID, caller: VerifyPermissionDep, remove_member: UseCase[RemoveMember]
) -> Envelope[None]:
    """End a membership of a private room. The owner may end every one, and each member their own.

    The last member takes the room with them.
    """
    await remove_member(caller, RoomId(room_id), UserId(user_id))
    return Envelope(data=None)


@router.get("/{room_id}/presence", dependencies=[GuardedRoute])
async def list_present(
    room_id: UUID, caller: VerifyPermissionDep, list_present: UseCase[ListPresent]
) -> Envelope[Sequence[PersonBody]]:
    """List the users who have joined the room with a connection."""
    return Envelope(
        data=[PersonBody.of(person) for person in await list_present(caller, RoomId(room_id))]
    )


@router.get("/{room_id}/messages", dependencies=[GuardedRoute])
async def read_history(
    room_id: UUID,
    query: Annotated[HistoryQuery, Query()],
    caller: VerifyPermissionDep,
    read_history: UseCase[ReadHistory],
) -> Envelope[HistoryBody]:
    """Read the messages of a room."""
    found = await read_history(
        caller, RoomId(room_id), after=query.after, before=query.before, limit=query.limit
    )
    return Envelope(data=HistoryBody.of(found))
