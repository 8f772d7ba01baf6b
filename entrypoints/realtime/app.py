"""Socket.IO beside the routes of an application, in the same process and with the same container."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from bootstrap import Container
from domain.permissions import Route
from entrypoints.realtime.security import Principal, Principals, check_declared, guarded_events
from entrypoints.realtime.server import described_server
from entrypoints.realtime.sweeper import Sweeper
from entrypoints.socketio.metrics import Metrics
from entrypoints.socketio.router import SocketRouter

_LAST_HANDLERS = 2.0
"""Seconds that handlers of `disconnect` have when the process stops."""


class Realtime:
    """The server, `sio`, and what runs as long as it serves."""

    def __init__(
        self,
        app: FastAPI,
        *,
        routers: Iterable[SocketRouter] = (),
        metrics: Metrics | None = None,
    ) -> None:
        """Serve our events and those of `routers` with the container of `app`; raise `UndeclaredEvent`."""
        container: Container = app.state.container
        self.sio = described_server(
            container.settings().http, routers=routers, metrics=metrics, app=app
        )
        self.principals = app.state.principals = Principals()
        self.sweeper = Sweeper(
            self.sio,
            self.principals,
            clock=container.clock(),
            recheck=container.recheck_callers(),
            on_changed=self._leave_rooms,
        )

    def permissions(self) -> Sequence[Route]:
        """Return the events that require a permission."""
        return [*guarded_events(self.sio)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check connections while the block runs; on the way out, let the handlers of the last ones end."""
        check_declared(self.sio)  # again: events may have been added since
        sweeping = asyncio.create_task(self.sweeper.run())
        try:
            yield
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_HANDLERS):
                    while self.sio.connection_count:  # noqa: ASYNC110 - nobody says when it is 0
                        await asyncio.sleep(0.01)
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping
            await self.sio.shutdown()

    async def _leave_rooms(self, principal: Principal) -> None:
        pass
