"""Python's collector of garbage, which would stop everything while it walks over a hundred thousand definitions."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

_EVERY = 60.0
"""Seconds between two collections, when there is time for one."""
_RARELY = 1000
"""The collector's own third threshold, for a beat that never has time."""


@dataclass(slots=True)
class Garbage:
    """Collects when nothing is due, and never looks at definitions: no cycle goes through them."""

    monotonic: Callable[[], float]
    _before: tuple[int, int, int] = field(default_factory=gc.get_threshold)
    _collected_at: float = 0.0

    def begin(self) -> None:
        """Take over from the collector."""
        first, second, _ = self._before
        gc.set_threshold(first, second, _RARELY)
        self._collected_at = self.monotonic()
        gc.freeze()

    def spare(self) -> None:
        """Leave all that there is now alone for good; what nobody needs is freed nevertheless."""
        gc.freeze()

    def collect(self) -> None:
        """Collect, if it is time to: nothing is due right now."""
        now = self.monotonic()
        if now - self._collected_at > _EVERY:
            self._collected_at = now
            gc.collect()

    def end(self) -> None:
        """Give back to the collector."""
        gc.unfreeze()
        gc.set_threshold(*self._before)
