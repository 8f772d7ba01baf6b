"""The history of messages in memory."""

from collections import defaultdict
from collections.abc import Sequence

from application.ports.messages import Appended, MessageHistory
from domain.messages import Draft, History, Message, MessageIdTaken
from domain.rooms import RoomId


class MemoryMessageHistory(MessageHistory):
    """The messages of each room, in their order."""

    def __init__(self) -> None:
        self._messages = defaultdict[RoomId, list[Message]](list)

    async def append(self, draft: Draft) -> Appended:
        messages = self._messages[draft.room]
        known = next((each for each in messages if each.id == draft.id), None)
        if known is not None:
            if known.author.id != draft.author.id:
                raise MessageIdTaken(draft.id)
            return Appended(known, is_new=False)
        message = draft.numbered(len(messages) + 1)
        messages.append(message)
        return Appended(message, is_new=True)

    async def delete(self, room_id: RoomId) -> None:
        self._messages.pop(room_id, None)

    async def after(self, room_id: RoomId, seq: int, *, limit: int) -> History:
        found = self._of(room_id)[max(seq, 0) :]
        return History(found[:limit], more=len(found) > limit)

    async def before(self, room_id: RoomId, seq: int | None, *, limit: int) -> History:
        messages = self._of(room_id)
        found = messages if seq is None else messages[: max(seq - 1, 0)]
        return History(found[-limit:], more=len(found) > limit)

    def _of(self, room_id: RoomId) -> Sequence[Message]:
        return self._messages.get(room_id, [])
