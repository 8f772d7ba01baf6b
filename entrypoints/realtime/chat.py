"""Messages of rooms."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from pydantic import BaseModel, Field

from application.ports.system import Clock
from application.use_cases.realtime.messages import ReadHistory, SendMessage, ShowTyping
from bootstrap import Container
from domain.connections import ConnectionId
from domain.messages import LAST_SEQ, LONGEST_HISTORY, MessageId
from domain.rooms import RoomId
from entrypoints.realtime.rooms import RoomReference
from entrypoints.realtime.security import GuardedEvent, PrincipalDep, VerifyPermissionDep
from entrypoints.room_bodies import HistoryBody, MessageBody, PersonBody
from entrypoints.socketio.router import SocketRouter
from entrypoints.wiring import UseCase, provide

_TYPING_PAUSE = timedelta(seconds=1)

ClockDep = Annotated[Clock, Depends(provide(Container.clock))]

router = SocketRouter(prefix="chat.")


class NewMessage(BaseModel):
    """A message for a room."""

    room: UUID
    text: str
    id: UUID | None = Field(
        default=None,
        description="Chosen by the client, so that it can send the message again when no ack came.",
    )


class Sent(BaseModel):
    """The stored message."""

    message: MessageBody


class HistoryQuery(BaseModel):
    """Which messages of a room: those after a number, those before one, or the last ones."""

    room: UUID
    after: Annotated[int, Field(ge=0, le=LAST_SEQ)] | None = None
    before: Annotated[int, Field(ge=1, le=LAST_SEQ)] | None = None
    limit: Annotated[int, Field(ge=1, le=LONGEST_HISTORY)] = 50


class TypingBody(BaseModel):
    """A user is typing in a room."""

    room: UUID
    user: PersonBody


@router.on("send", dependencies=[GuardedEvent], ordered=True)
async def send(
    message: NewMessage, caller: VerifyPermissionDep, send_message: UseCase[SendMessage]
) -> Sent:
    """Store a message, and send it to everybody in the room."""
    message_id = None if message.id is None else MessageId(message.id)
    stored = await send_message(caller, RoomId(message.room), message.text, message_id=message_id)
    return Sent(message=MessageBody.of(stored))


@router.on("history", dependencies=[GuardedEvent])
async def history(
    query: HistoryQuery, caller: VerifyPermissionDep, read_history: UseCase[ReadHistory]
) -> HistoryBody:
    """Read messages of a room again, for example those that were sent while the client was away."""
    found = await read_history(
        caller, RoomId(query.room), after=query.after, before=query.before, limit=query.limit
    )
    return HistoryBody.of(found)


@router.on("typing", dependencies=[GuardedEvent])
async def typing(
    reference: RoomReference,
    principal: PrincipalDep,
    caller: VerifyPermissionDep,
    show_typing: UseCase[ShowTyping],
    clock: ClockDep,
) -> None:
    """Tell a room that the caller is typing; this connection must have joined it.

    The room hears of it once a second, however often it is sent.
    """
    room_id, now = RoomId(reference.room), clock.now()
    typed_at = principal.typed_at.get(room_id)
    if typed_at is not None and timedelta(0) <= now - typed_at < _TYPING_PAUSE:
        return
    await show_typing(caller, ConnectionId(principal.sid), room_id)
    principal.typed_at[room_id] = now
