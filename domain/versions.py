"""The version of an object is the time of its last change; no two versions of it share one."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TypeAlias

from domain.errors import PreconditionFailed

Versions: TypeAlias = Collection[datetime]
"""The versions of an object that a caller is willing to change."""

_TICK = timedelta(microseconds=1)
"""The precision with which every store keeps an instant."""


def check_version(updated_at: datetime, expected: Versions | None) -> None:
    """Raise `PreconditionFailed` unless a locked thing has one of the `expected` versions; None accepts any."""
    if expected is not None and updated_at not in expected:
        raise PreconditionFailed


def next_version(updated_at: datetime, now: datetime) -> datetime:
    """Return the time of a change made now: always later than the last change, even if the clocks of hosts differ."""
    return max(now, updated_at + _TICK)
