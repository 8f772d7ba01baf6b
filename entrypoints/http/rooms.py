"""Rooms: who may enter them, who is there, and what was said. Messages are sent over the socket."""

from collections.abc import Sequence
from datetime import datetime
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
    Plain,
    locate,
)
from entrypoints.http.paging import Page, PageQuery
from entrypoints.http.query_types import Number
from entrypoints.http.router import Router
from entrypoints.http.security import GuardedRoute, VerifyPermissionDep
from entrypoints.message_bodies import HistoryBody, PersonBody
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
KindField = Annotated[
    RoomKind,
    Field(
        description="Everybody may enter an open room. A private one exists only for its members.",
        examples=["private"],
    ),
]

_ROOM_ID = "0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b30"
_USER_ID = "0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"


class CreateRoomBody(ApiModel):
    """A new room."""

    name: NameField
    kind: KindField = RoomKind.OPEN


class RoomBody(ApiModel):
    """A place where users talk."""

    id: UUID = Field(examples=[_ROOM_ID])
    name: Plain = Field(examples=["Lobby"])
    kind: KindField
    owner: UUID | None = Field(
        description="The user who created it; null if they were deleted.", examples=[_USER_ID]
    )
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])


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
    return Envelope(data=Page.of(found, query, RoomBody.present))


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
    return CreatedEnvelope(data=RoomBody.present(room))


@router.get("/{room_id}", dependencies=[GuardedRoute])
async def get_room(
    room_id: UUID, caller: VerifyPermissionDep, get_room: UseCase[GetRoom]
) -> Envelope[RoomBody]:
    """Get a room that the caller may enter."""
    return Envelope(data=RoomBody.present(await get_room(caller, RoomId(room_id))))


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
    """End a membership of a private room. The owner may end every one, and each member their own."""
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
