"""What clients would get."""

import asyncio
import json
from typing import Any

from tests.support.world import World


class Events:
    """The messages that the emitter of a world sends from now on."""

    def __init__(self, world: World) -> None:
        self._queue: asyncio.Queue[str] = world.container.event_emitter().subscribe()

    def taken(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the messages since the last call, or those of them that send `event`."""
        messages = []
        while not self._queue.empty():
            messages.append(json.loads(self._queue.get_nowait()))
        return [each for each in messages if event in {None, each.get("event")}]

    def sent(self, event: str) -> list[tuple[str | None, dict[str, Any]]]:
        """Return the audience and the data of each of these events since the last call."""
        return [(each["room"], each["data"][0]) for each in self.taken(event)]
