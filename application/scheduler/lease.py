"""The lease of this beat, by its own monotonic clock: what it may do without calling the store."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from application.ports.leader_lease import Leadership

_MARGIN = 0.1
"""The unused part of a lease: clocks run differently, and messages take time."""


@dataclass(slots=True)
class Lease:
    """The lease of this beat, if it has one. One thread writes, others may read."""

    length: timedelta
    monotonic: Callable[[], float]
    leadership: Leadership | None = None
    _safe_until: float = 0.0

    def extend(self, leadership: Leadership, *, asked_at: float) -> None:
        """Take a lease that the store gave at `asked_at`, or later, by the monotonic clock."""
        self._safe_until = asked_at + self.length.total_seconds() * (1 - _MARGIN)
        self.leadership = leadership

    def end(self) -> None:
        """Stop leading."""
        self.leadership = None

    @property
    def holds(self) -> bool:
        """True while no other beat can hold the lease. An expired lease may still be renewed."""
        return self.leadership is not None and self.monotonic() < self._safe_until
