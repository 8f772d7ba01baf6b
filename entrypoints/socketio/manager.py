"""The manager of a server that is one of several: what one of them emits reaches the clients of all."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from socketio.async_pubsub_manager import AsyncPubSubManager


class Channel(Protocol):
    """Carries messages between processes, in one order."""

    async def publish(self, message: str) -> None:
        """Publish a message, or lose it; never raise."""
        ...

    def listen(self) -> AsyncIterator[str]:
        """Yield what all processes publish, and never end."""
        ...


class ChannelManager(AsyncPubSubManager):  # type: ignore[misc]  # it has no types
    """python-socketio's manager over any channel. Messages are JSON."""

    name = "channel"

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    async def _publish(self, data: Mapping[str, Any]) -> None:
        await self._channel.publish(json.dumps(data))

    async def _listen(self) -> AsyncIterator[str]:
        async for message in self._channel.listen():
            yield message
