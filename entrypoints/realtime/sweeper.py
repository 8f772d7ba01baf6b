"""Ends connections whose token has expired, or whose user may not be connected any more."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from application.ports.system import Clock
from application.use_cases.access.recheck import Checked, RecheckCallers
from domain.errors import Unavailable
from entrypoints.realtime.connections import LocalConnections, Principal
from entrypoints.realtime.errors import socket_error
from entrypoints.socketio.errors import Code, SocketError, envelope

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.realtime")

_EXPIRED = SocketError(Code.NOT_ALLOWED, "The access token has expired")


class Sweeper:
    """Looks at all connections of the process, every `period`.

    Events need none of this: the guard checks each when it comes. But who only listens sends none. It asks the stores
    themselves, so no message has to arrive for a change to be in force.
    """

    period = 0.5
    """Seconds."""

    def __init__(
        self,
        local: LocalConnections,
        *,
        clock: Clock,
        recheck: RecheckCallers,
        on_changed: Callable[[Principal], Awaitable[None]],
    ) -> None:
        """`on_changed` is awaited with each principal whose access may have changed, and who may stay connected."""
        self._sio = local.sio
        self._principals = local.principals
        self._clock = clock
        self._recheck = recheck
        self._on_changed = on_changed

    async def run(self) -> None:
        """Sweep until cancelled."""
        is_blind = False
        while True:
            await asyncio.sleep(self.period)
            try:
                await self.sweep()
            except Unavailable as error:
                if not is_blind:
                    _log.warning("connections are not checked", dependency=error.dependency)
                is_blind = True
            except Exception:  # noqa: BLE001 - a fault must not end the only check there is
                _log.exception("connections are not checked")
            else:
                is_blind = False

    async def sweep(self) -> None:
        """Look at all connections once; raise `Unavailable` if their sessions cannot be looked at."""
        now = self._clock.now()
        for principal in [*self._principals.values()]:
            if not self._is_there(principal):
                del self._principals[principal.sid]
            elif principal.expires_at <= now:
                await self._end(principal, _EXPIRED)
        by_check = {id(p.checked): p for p in self._principals.values()}
        for found in await self._recheck([p.checked for p in by_check.values()]):
            principal = by_check[id(found.before)]
            if principal.checked is not found.before:
                continue  # it has brought a new token meanwhile
            if isinstance(found.after, Checked):
                principal.checked = found.after
                await self._on_changed(principal)
            else:
                await self._end(principal, socket_error(found.after))

    def _is_there(self, principal: Principal) -> bool:
        manager, at = self._sio.manager, (principal.sid, principal.namespace)
        return bool(manager.is_connected(*at) or manager.is_pre_connected(*at))

    async def _end(self, principal: Principal, error: SocketError) -> None:
        """Tell the client why, and disconnect it."""
        if self._principals.pop(principal.sid, None) is None:
            return
        sid, namespace = principal.sid, principal.namespace
        _log.info("connection ended", sid=sid, user_id=principal.caller.user_id, reason=error.data)
        data = envelope("connect", error)
        await self._sio.emit("error", data, to=sid, namespace=namespace, ignore_queue=True)
        await self._sio.disconnect(sid, namespace=namespace)
