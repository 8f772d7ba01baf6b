"""How much one client may do, and the state of each client that is held against it."""

import asyncio
from dataclasses import dataclass

from entrypoints.socketio.errors import Code, SocketError

RESERVED = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Events that only servers and clients themselves may cause (socket.io-parser); those of Node.js are among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one connection. A client beyond them is refused with 1013 first, and then dropped."""

    connect_timeout: float = 20.0
    """Seconds until a connection must have joined a namespace, and after it has left its last one."""
    upgrade_timeout: float = 10.0
    """Seconds that a client may take for each step from polling to WebSocket."""
    rate: float = 50.0
    """Packets a second, in the long run."""
    burst: int = 200
    """Packets at once. A client that sends as many again, beyond what is refused, is dropped."""
    packet_size: int = 16_384
    """Characters for which a packet counts once; one of twice as many counts twice, for it takes as long to read."""
    max_in_flight: int = 100
    """Events that may be handled at the same time."""
    max_unsent_bytes: int = 4_000_000
    """The most that may wait to be sent; a client that reads too slowly is dropped."""


class Client:
    """One connection and what is left to it: a token bucket, and the events that are being handled."""

    __slots__ = ("_limits", "_since", "_tokens", "in_flight", "lock", "timer")

    def __init__(self, limits: Limits, now: float) -> None:
        self.in_flight = 0
        self.lock = asyncio.Lock()
        """Held by the event that runs, where events are handled in order."""
        self.timer: asyncio.TimerHandle | None = None
        """Drops a connection without namespaces."""
        self._limits = limits
        self._tokens = float(limits.burst)
        self._since = now

    def charge(self, now: float, size: int) -> bool:
        """Count a packet of `size` characters, refused or not; return whether the connection may go on."""
        limits = self._limits
        refilled = self._tokens + (now - self._since) * limits.rate
        self._tokens = min(refilled, float(limits.burst)) - 1.0 - size // limits.packet_size
        self._since = now
        return self._tokens > -limits.burst

    def refusal(self) -> SocketError | None:
        """Return why the packet that was just counted is refused, if it is."""
        if self._tokens < 0:
            return SocketError(Code.TRY_AGAIN, "Too many packets; send more slowly")
        if self.in_flight >= self._limits.max_in_flight:
            return SocketError(Code.TRY_AGAIN, "Too many events at once; wait for acks")
        return None

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
