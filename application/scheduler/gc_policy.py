"""When Python's garbage collector runs: it would pause the beat while it traverses a hundred thousand definitions."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

_EVERY = 60.0
"""Seconds between two collections, when there is time for one."""
_RARELY = 1000
"""The collector's own third threshold, for a beat that never has time."""


@dataclass(slots=True)
class GcPolicy:
    """Collects when nothing is due, and never traverses definitions: they are in no reference cycle."""

    monotonic: Callable[[], float]
    _before: tuple[int, int, int] = field(default_factory=gc.get_threshold)
    _collected_at: float = 0.0

    def begin(self) -> None:
        """Take control of the collector."""
        first, second, _ = self._before
        gc.set_threshold(first, second, _RARELY)
        self._collected_at = self.monotonic()
        gc.freeze()

    def freeze(self) -> None:
        """Exclude all current objects from collection; reference counting still frees them."""
        gc.freeze()

    def collect(self) -> None:
        """Collect, if it is time to: nothing is due right now."""
        now = self.monotonic()
        if now - self._collected_at > _EVERY:
            self._collected_at = now
            gc.collect()

    def end(self) -> None:
        """Restore the settings of the collector."""
        gc.unfreeze()
        gc.set_threshold(*self._before)
