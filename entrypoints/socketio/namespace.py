"""Namespaces as classes, whose methods are handlers with dependency injection."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import socketio
from fastapi.params import Depends

from entrypoints.socketio.handlers import PlannedHandler

PREFIX = "on_"


class AsyncNamespace(socketio.AsyncNamespace):  # type: ignore[misc]  # python-socketio has no types
    """Every method `on_EVENT` handles that event; the rest is python-socketio's.

    `on_message_sent` handles `message_sent`. Events whose names are no identifiers (`chat.send`) need a function.
    """

    dependencies: ClassVar[Sequence[Depends]] = ()
    """The dependencies that run before a client is accepted and before every handler but `on_disconnect`."""

    if TYPE_CHECKING:
        namespace: str

        def __init__(self, namespace: str | None = None) -> None: ...
        async def emit(
            self, event: str, data: Any = None, to: str | None = None, **options: Any
        ) -> None: ...
        async def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None: ...
        async def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None: ...
        async def disconnect(self, sid: str, namespace: str | None = None) -> None: ...

    planned: Mapping[str, PlannedHandler] = MappingProxyType({})
    """The handlers with a plan, by event; the server makes them when the namespace is registered."""

    async def trigger_event(self, event: str, *args: Any) -> Any:
        """Run a handler without a plan, as python-socketio does; return `not_handled` if there is none."""
        if not hasattr(self, PREFIX + event):
            return self.server.not_handled
        return await super().trigger_event(event, *args)
