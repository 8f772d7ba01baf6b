"""The events that the server sends: their names and their data. `docs/realtime.md` describes them to clients."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from application.ports.event_emitter import Audience, EventEmitter
from domain.connections import PresenceChange
from domain.identity import UserId
from domain.messages import Message
from domain.rooms import Person

MESSAGE, PRESENCE, TYPING = "chat.receive", "presence", "chat.typing"
NOTIFICATION, ROOM_DELETED = "notification", "room.deleted"


def message_data(message: Message) -> dict[str, object]:
    """Return a message as clients get it."""
    return {
        "id": str(message.id),
        "room": str(message.room),
        "seq": message.seq,
        "user": person_data(message.author),
        "text": message.text,
        "at": message.at.isoformat().replace("+00:00", "Z"),
    }


def person_data(person: Person) -> dict[str, object]:
    """Return a user as clients get them."""
    return {"id": str(person.id), "name": person.name}


async def announce(emitter: EventEmitter, changes: Iterable[PresenceChange]) -> None:
    """Tell each room who came to it or left it."""
    sent = [
        (
            {
                "room": str(change.room),
                "user": person_data(change.user),
                "state": change.state.value,
            },
            Audience.room(change.room),
        )
        for change in changes
    ]
    await emitter.emit_each(PRESENCE, sent)


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell a user something on all their connections. It is lost on those who have none."""

    emitter: EventEmitter

    async def __call__(self, user_id: UserId, kind: str, data: Mapping[str, object]) -> None:
        """Send a notification of a `kind` such as `rooms.member_added`; `data` is JSON."""
        await self.emitter.emit(NOTIFICATION, {"kind": kind, **data}, Audience.user(user_id))
