"""Events over Redis, on one channel to which each process listens.

- `realtime:emitted:{<channel>}:<audience>`: the last number that `emit_numbered` sent there. On a Redis Cluster it
  lies where the channel does: what one server publishes arrives in its order
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta

from adapters.redis.client import RedisServers, unavailable_when_down
from adapters.redis.scripts import Script
from adapters.socketio_messages import (
    close_room_message,
    disconnect_message,
    emit_message,
    leave_message,
)
from application.ports.event_emitter import LARGEST_GAP, Audience, EventEmitter
from domain.connections import ConnectionId
from domain.errors import Unavailable

_NUMBERS_TTL = timedelta(days=1) // timedelta(milliseconds=1)

_EMITTED_AT_ONCE = 200
"""So many events, and more, are published within the time-out of the client."""

_SILENCE = 5.0
"""Seconds without a message after which the server is asked whether it is still there."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

_log = logging.getLogger(__name__)


class RedisEventEmitter(EventEmitter):
    """Publishes within the time-out of the client."""

    def __init__(self, client: RedisServers) -> None:
        self._client = client
        self._channel = f"portico:events:{client.database}"
        self._emit_numbered = Script(client, "event_emitter_emit_numbered")

    async def emit(self, event: str, data: Mapping[str, object], to: Audience) -> None:
        await self.publish(emit_message(event, data, to.name))

    async def emit_each(
        self, event: str, sent: Sequence[tuple[Mapping[str, object], Audience]]
    ) -> None:
        commands = [
            ("PUBLISH", self._channel, emit_message(event, data, to.name)) for data, to in sent
        ]
        for first in range(0, len(commands), _EMITTED_AT_ONCE):
            batch = commands[first : first + _EMITTED_AT_ONCE]
            try:
                with unavailable_when_down():
                    server = await self._client.server_of(self._channel)
                    for answer in await server.execute_each(batch):
                        if isinstance(answer, Exception):
                            raise answer
            except Unavailable as error:
                _log_loss(error)

    async def emit_numbered(
        self, event: str, data: Mapping[str, object], to: Audience, *, number: int
    ) -> int:
        try:
            (last,) = await self._emit_numbered(
                [f"realtime:emitted:{{{self._channel}}}:{to.name}"],
                number,
                LARGEST_GAP,
                _NUMBERS_TTL,
                self._channel,
                emit_message(event, data, to.name),
            )
        except Unavailable as error:
            _log_loss(error)
            return number
        return int(last)

    async def remove_from_room(self, connection_id: ConnectionId, audience: Audience) -> None:
        await self.publish(leave_message(connection_id, audience.name))

    async def close_room(self, audience: Audience) -> None:
        await self.publish(close_room_message(audience.name))

    async def disconnect(self, connection_id: ConnectionId) -> None:
        await self.publish(disconnect_message(connection_id))

    async def publish(self, message: str) -> None:
        try:
            await self._client.execute("PUBLISH", self._channel, message)
        except Unavailable as error:
            _log_loss(error)

    async def listen(self) -> AsyncIterator[str]:
        pause = _SHORTEST_PAUSE
        while True:
            try:
                async for message in self._messages():
                    pause = _SHORTEST_PAUSE
                    if message is not None:
                        yield message
            except Unavailable as error:
                _log.warning("Events of other processes are not heard: %s", error.reason)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _messages(self) -> AsyncIterator[str | None]:
        """Yield None once it listens, and then each message; raise `Unavailable`."""
        server = await self._client.server_of(self._channel)
        subscription = server.pubsub(ignore_subscribe_messages=True)
        try:
            with unavailable_when_down():
                async with asyncio.timeout(_SILENCE):
                    await subscription.subscribe(self._channel)
                yield None
                asked = False
                while True:
                    heard = await subscription.get_message(timeout=_SILENCE)
                    if heard is not None:
                        asked = False
                        if heard["type"] == "message":
                            yield heard["data"]
                    elif asked:
                        raise TimeoutError
                    else:
                        async with asyncio.timeout(_SILENCE):
                            await subscription.ping()
                        asked = True
        finally:
            await subscription.aclose()  # type: ignore[no-untyped-call]  # the driver's own gap


def _log_loss(error: Unavailable) -> None:
    _log.warning("An event is lost: %s", error.reason)
