"""The version of what is changed by id: the moment of its last change, which no two versions share."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TypeAlias

from domain.errors import PreconditionFailed

Versions: TypeAlias = Collection[datetime]
"""The versions that a caller accepts, of whatever they want to change."""

_TICK = timedelta(microseconds=1)
"""What every store keeps of an instant."""


def check_version(updated_at: datetime, expected: Versions | None) -> None:
    """Raise `PreconditionFailed` unless a locked thing has one of the `expected` versions; None accepts any."""
    if expected is not None and updated_at not in expected:
        raise PreconditionFailed


def next_version(updated_at: datetime, now: datetime) -> datetime:
    """Return when a locked thing changes now: later than its last change, whatever the clocks of the hosts say."""
    return max(now, updated_at + _TICK)
