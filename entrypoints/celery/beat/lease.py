"""Whether this beat leads, by its own monotonic clock: what it may do without asking anybody."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from application.ports.scheduling import Leadership

_MARGIN = 0.1
"""The part of a lease that is left alone: clocks run differently, and a message is some time on its way."""


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
        """Lead no longer."""
        self.leadership = None

    @property
    def holds(self) -> bool:
        """Whether surely nobody else leads. A lease that holds no longer may still be extended."""
        return self.leadership is not None and self.monotonic() < self._safe_until
