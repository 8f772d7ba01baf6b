"""The lease of this beat, by its own monotonic clock: what it may do without calling the database."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from application.ports.leader_lease import Leadership

_log = logging.getLogger(__name__)

_MARGIN = 0.1
"""The unused part of a lease: clocks run differently, and messages take time."""


@dataclass(slots=True)
class Lease:
    """The lease of this beat, if it has one. The event loop writes, other threads may read."""

    length: timedelta
    monotonic: Callable[[], float]
    leadership: Leadership | None = None
    """The same object for as long as it lasts."""
    acquire_now: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when this beat should try at once to acquire the lease."""
    _safe_until: float = 0.0

    def extend(self, leadership: Leadership, *, asked_at: float) -> None:
        """Take a lease that the database gave at `asked_at`, or later, by the monotonic clock."""
        self._safe_until = asked_at + self.length.total_seconds() * (1 - _MARGIN)
        if self.leadership != leadership:
            self.leadership = leadership

    def end(self) -> None:
        """Stop leading."""
        self.leadership = None

    def lose(self) -> None:
        """Stop leading because another beat leads, or may."""
        if self.leadership is not None:
            _log.warning("this beat has lost the lease")
            self.leadership = None
            self.acquire_now.set()

    @property
    def holds(self) -> bool:
        """True while no other beat can hold the lease. An expired lease may still be renewed."""
        return self.leadership is not None and self.monotonic() < self._safe_until
