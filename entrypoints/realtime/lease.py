"""Keeps the connections of a process registered, for as long as it is there to keep them."""

import asyncio

import structlog

from application.settings import RealtimeSettings
from application.use_cases.realtime.connections import (
    CloseAllConnections,
    CloseConnection,
    RenewConnections,
)
from domain.errors import Unavailable
from entrypoints.realtime.connections import LocalConnections

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.realtime")

_DROPPED_PER_SECOND = 500


class ConnectionLease:
    """The lease of a process on its registered connections. Other processes forget them when it has expired."""

    def __init__(
        self,
        local: LocalConnections,
        settings: RealtimeSettings,
        *,
        renew: RenewConnections,
        close: CloseConnection,
        close_all: CloseAllConnections,
    ) -> None:
        self._local = local
        self._length = settings.connection_lease.total_seconds()
        self._renew = renew
        self._close = close
        self._close_all = close_all

    async def run(self) -> None:
        """Renew until cancelled."""
        loop = asyncio.get_running_loop()
        renewed_at = loop.time()
        while True:
            await asyncio.sleep(self._length / 3)
            try:
                await self.renew()
            except Unavailable as error:
                _log.warning("connections are not renewed", dependency=error.dependency)
                continue
            except Exception:  # noqa: BLE001 - one failure must not be the end of all renewals
                _log.exception("connections are not renewed")
                continue
            if loop.time() - renewed_at > self._length:
                await self._drop_all()
            renewed_at = loop.time()

    async def renew(self) -> None:
        """Renew once, and forget what could not be forgotten before; raise `Unavailable`."""
        await self._renew(self._local.process)
        for connection_id in [*self._local.unclosed]:
            await self._close(connection_id)
            self._local.unclosed.discard(connection_id)

    async def end(self) -> None:
        """Forget all connections, unless the registry cannot be reached: then the lease expires."""
        try:
            await self._close_all(self._local.process)
        except Unavailable as error:
            _log.warning("connections are not closed", dependency=error.dependency)

    async def _drop_all(self) -> None:
        """Cut all connections, for others may have forgotten them meanwhile; clients come back by themselves."""
        sio = self._local.sio
        for principal in [*self._local.principals.values()]:
            eio_sid = sio.manager.eio_sid_from_sid(principal.sid, principal.namespace)
            await sio.eio.drop(eio_sid, "lease expired")
            await asyncio.sleep(1 / _DROPPED_PER_SECOND)
