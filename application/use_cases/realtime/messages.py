"""Messages of rooms: send them, read them again, and say that one is being typed."""

from dataclasses import dataclass

from application.ports.connections import ConnectionRegistry
from application.ports.event_emitter import Audience, EventEmitter
from application.ports.messages import MessageHistory
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from application.settings import RealtimeSettings
from application.use_cases.caller import Caller
from application.use_cases.realtime.events import MESSAGE, TYPING, message_data, person_data
from application.use_cases.realtime.rooms import room_for
from domain.connections import ConnectionId
from domain.messages import AmbiguousHistory, Draft, History, Message, MessageId, check_length
from domain.rooms import Person, RoomId, RoomNotFound
from domain.sessions import InvalidToken


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Store a message of the caller, and send it to everybody in the room, in the order of the room.

    The caller need not have joined the room with a connection.
    """

    uow: UnitOfWorkFactory
    history: MessageHistory
    emitter: EventEmitter
    clock: Clock
    ids: IdGenerator
    limits: RealtimeSettings

    async def __call__(
        self, caller: Caller, room_id: RoomId, text: str, *, message_id: MessageId | None = None
    ) -> Message:
        """Return the stored message; sent again with the same `message_id`, that of the first time.

        Raise `InvalidMessage`, `RoomNotFound` or `MessageIdTaken`.
        """
        check_length(text, self.limits.message_length)
        async with self.uow() as uow:
            await room_for(uow, caller, room_id)
            author = await person_of(uow, caller)
        draft = Draft(
            id=message_id or MessageId(self.ids.new()),
            room=room_id,
            author=author,
            text=text,
            at=self.clock.now(),
        )
        appended = await self.history.append(draft)
        # Emitted again too: the process that stored it may have stopped before the rooms heard of it.
        await self._emit(appended.message)
        return appended.message

    async def _emit(self, message: Message) -> None:
        emitted = await self._emit_one(message)
        if emitted >= message.seq:
            return
        # Others stored theirs before, and have not emitted them yet, or never will.
        missed = await self.history.after(message.room, emitted, limit=message.seq - emitted)
        for each in missed.messages:
            await self._emit_one(each)

    async def _emit_one(self, message: Message) -> int:
        return await self.emitter.emit_numbered(
            MESSAGE, message_data(message), Audience.room(message.room), number=message.seq
        )


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """Read the messages of a room: those after a number, those before one, or the last ones."""

    uow: UnitOfWorkFactory
    history: MessageHistory

    async def __call__(
        self,
        caller: Caller,
        room_id: RoomId,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
    ) -> History:
        """Return at most `limit`. Raise `RoomNotFound`, or `AmbiguousHistory` if both numbers are given."""
        if after is not None and before is not None:
            raise AmbiguousHistory
        async with self.uow() as uow:
            await room_for(uow, caller, room_id)
        if after is not None:
            return await self.history.after(room_id, after, limit=limit)
        return await self.history.before(room_id, before, limit=limit)


@dataclass(frozen=True, slots=True)
class ShowTyping:
    """Tell a room that the caller is typing. Their connection must have joined it."""

    uow: UnitOfWorkFactory
    connections: ConnectionRegistry
    emitter: EventEmitter

    async def __call__(self, caller: Caller, connection_id: ConnectionId, room_id: RoomId) -> None:
        """Raise `RoomNotFound`."""
        if not await self.connections.is_in(connection_id, room_id):
            raise RoomNotFound(room_id)
        async with self.uow() as uow:
            user = await person_of(uow, caller)
        data = {"room": str(room_id), "user": person_data(user)}
        await self.emitter.emit(TYPING, data, Audience.room(room_id))


async def person_of(uow: UnitOfWork, caller: Caller) -> Person:
    """Return the caller as others see them; raise `InvalidToken` if they were deleted meanwhile."""
    user = await uow.users.find(caller.user_id)
    if user is None:
        raise InvalidToken("the user is gone")
    return Person(id=user.id, name=user.name.value)
