"""Events for the clients of this process."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from adapters.bounded_cache import BoundedCache
from adapters.socketio_messages import (
    close_room_message,
    disconnect_message,
    emit_message,
    leave_message,
)
from application.ports.event_emitter import LARGEST_GAP, Audience, EventEmitter
from domain.connections import ConnectionId


class MemoryEventEmitter(EventEmitter):
    """Hands everything to those of this process who listen."""

    def __init__(self) -> None:
        self._listeners: list[asyncio.Queue[str]] = []
        self._numbers = BoundedCache[Audience, int](100_000)

    async def emit(self, event: str, data: Mapping[str, object], to: Audience) -> None:
        await self.publish(emit_message(event, data, to.name))

    async def emit_each(
        self, event: str, sent: Sequence[tuple[Mapping[str, object], Audience]]
    ) -> None:
        for data, to in sent:
            await self.emit(event, data, to)

    async def emit_numbered(
        self, event: str, data: Mapping[str, object], to: Audience, *, number: int
    ) -> int:
        last = self._numbers.get(to)
        if last is not None and number <= last:
            return number
        if last is not None and last + 1 < number <= last + LARGEST_GAP:
            return last
        self._numbers.put(to, number)
        await self.emit(event, data, to)
        return number

    async def remove_from_room(self, connection_id: ConnectionId, audience: Audience) -> None:
        await self.publish(leave_message(connection_id, audience.name))

    async def close_room(self, audience: Audience) -> None:
        await self.publish(close_room_message(audience.name))

    async def disconnect(self, connection_id: ConnectionId) -> None:
        await self.publish(disconnect_message(connection_id))

    async def publish(self, message: str) -> None:
        for listener in self._listeners:
            listener.put_nowait(message)

    async def listen(self) -> AsyncIterator[str]:
        listener = self.subscribe()
        try:
            while True:
                yield await listener.get()
        finally:
            self._listeners.remove(listener)

    def subscribe(self) -> asyncio.Queue[str]:
        """Return a queue that gets all messages from now on."""
        listener = asyncio.Queue[str]()
        self._listeners.append(listener)
        return listener
