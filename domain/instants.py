"""Instants as whole microseconds since 1970: what `datetime` resolves, so nothing is lost."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(instant: datetime) -> int:
    """Return the microseconds from 1970 to `instant` (aware)."""
    return (instant - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the instant (UTC) that many microseconds after 1970."""
    return _EPOCH + microseconds * _MICROSECOND
