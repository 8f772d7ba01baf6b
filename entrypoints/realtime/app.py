"""Socket.IO beside the routes of an application, in the same process and with the same container."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from fastapi import FastAPI

from application.metrics import SOCKET_CONNECTIONS, SOCKET_UNSENT
from application.ports.metrics import Metrics as ProcessMetrics
from bootstrap import Container
from domain.connections import ProcessId
from domain.permissions import Route
from entrypoints.realtime.connections import LocalConnections
from entrypoints.realtime.documents import document
from entrypoints.realtime.lease import ConnectionLease
from entrypoints.realtime.metrics import SocketMetrics
from entrypoints.realtime.rooms import leave_what_is_forbidden
from entrypoints.realtime.security import check_declared, guarded_events
from entrypoints.realtime.server import described_server
from entrypoints.realtime.sweeper import Sweeper
from entrypoints.socketio.manager import ChannelManager
from entrypoints.socketio.metrics import Metrics
from entrypoints.socketio.router import SocketRouter
from entrypoints.tracing import Traces

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
        traces: Traces | None = None,
    ) -> None:
        """Serve our events and those of `routers` with the container of `app`; raise `UndeclaredEvent`."""
        container: Container = app.state.container
        settings = container.settings()
        self.sio = described_server(
            settings.http,
            routers=routers,
            client_manager=ChannelManager(container.event_emitter()),
            metrics=metrics or SocketMetrics(container.metrics(), traces),
            app=app,
        )
        self.local = LocalConnections(self.sio, ProcessId(container.ids().new().hex))
        app.state.local_connections = self.local
        self.sweeper = Sweeper(
            self.local,
            clock=container.clock(),
            recheck=container.recheck_callers(),
            on_changed=partial(
                leave_what_is_forbidden, self.local, leave_room=container.leave_room()
            ),
        )
        self.lease = ConnectionLease(
            self.local,
            settings.realtime,
            renew=container.renew_connections(),
            close=container.close_connection(),
            close_all=container.close_all_connections(),
        )

    def permissions(self) -> Sequence[Route]:
        """Return the events that require a permission."""
        return [*guarded_events(self.sio)]

    def document(self) -> Mapping[str, Any]:
        """Return the AsyncAPI document of all events."""
        return document(self.sio)

    def sample(self, metrics: ProcessMetrics) -> None:
        """Set how many connections this process has, and what waits to be sent to them."""
        metrics.set(SOCKET_CONNECTIONS, self.sio.connection_count)
        metrics.set(SOCKET_UNSENT, self.sio.unsent_bytes())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hear other processes and check connections while the block runs; at its end let the last handlers end."""
        check_declared(self.sio)  # again: events may have been added since
        self.sio.start_listening()
        tasks = [asyncio.create_task(each.run()) for each in (self.sweeper, self.lease)]
        try:
            yield
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_HANDLERS):
                    while self.sio.connection_count:  # noqa: ASYNC110 - no event says when it is 0
                        await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self.lease.end()
            await self.sio.shutdown()
