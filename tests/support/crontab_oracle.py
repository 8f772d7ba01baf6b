"""When a crontab fires, found the slow way: look at the clocks in every minute. Shares no line with the domain."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from tests.support.clock import DAY, MINUTE, SECOND

STRIDE = timedelta(days=6)


@dataclass(frozen=True)
class Reading:
    """What the clocks show at one minute of the UTC timeline."""

    instant: datetime
    shown: datetime
    again: bool
    skipped: tuple[datetime, ...]
    """The minutes that no clock shows because this one was shown instead."""


def readings(zone: ZoneInfo, start: datetime, end: datetime) -> list[Reading]:
    """Read the clocks of `zone` each minute from `start` to `end`, knowing what they showed in the day before."""
    seen: set[datetime] = set()
    read = []
    instant = start - DAY
    previous = instant.astimezone(zone).replace(tzinfo=None, fold=0) - MINUTE
    while instant <= end:
        shown = instant.astimezone(zone).replace(tzinfo=None, fold=0)
        skipped = []
        missing = previous + MINUTE
        while missing < shown:
            skipped.append(missing)
            missing += MINUTE
        if instant >= start:
            read.append(Reading(instant, shown, shown in seen, tuple(skipped)))
        seen.add(shown)
        previous = shown
        instant += MINUTE
    return read


class Oracle:
    """The five numeric fields of a crontab, compared with each reading."""

    def __init__(self, text: str) -> None:
        minute, self._hour_text, day, month, weekday = text.split()
        self._minutes = _numbers(minute, 0, 59)
        self._hours = _numbers(self._hour_text, 0, 23)
        self._days = _numbers(day, 1, 31)
        self._months = _numbers(month, 1, 12)
        self._weekdays = _numbers(weekday, 0, 6)

    def fires(self, read: list[Reading]) -> list[datetime]:
        """Return the instants at which the crontab fires, in order."""
        as_shown = len(self._hours) == 24 or "/" in self._hour_text
        return [
            reading.instant
            for reading in read
            if (self._names(reading.shown) and (as_shown or not reading.again))
            or (not as_shown and any(map(self._names, reading.skipped)))
        ]

    def _names(self, shown: datetime) -> bool:
        return (
            shown.minute in self._minutes
            and shown.hour in self._hours
            and shown.day in self._days
            and shown.month in self._months
            and shown.isoweekday() % 7 in self._weekdays
        )


def _numbers(text: str, low: int, high: int) -> set[int]:
    numbers: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        numbers |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return numbers


@dataclass(frozen=True)
class Change:
    """The clocks of a zone are moved."""

    at: datetime
    before: timedelta
    since: timedelta


def changes(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[Change]:
    """Find where the offset of `zone` changes; in the database no two changes are within `STRIDE` of each other."""
    steps = (start + n * STRIDE for n in range((end - start) // STRIDE + 1))
    for (earlier, before), (_, since) in pairwise((step, _offset(zone, step)) for step in steps):
        if before != since:
            low, high = earlier, earlier + STRIDE
            while high - low > SECOND:
                middle = low + (high - low) // (2 * SECOND) * SECOND
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            yield Change(high, before, since)


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
