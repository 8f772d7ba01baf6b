"""The five fields of a crontab: read once into tables, so that the next time is looked up, never counted to."""

from calendar import monthrange
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, datetime
from functools import lru_cache

LONGEST_FIELD = 200
_SHORTEST_NAME = 3


@dataclass(frozen=True, slots=True, eq=False)
class CronField:
    """One of the five fields: its numbers, and the names that they may have, which begin with the lowest."""

    lowest: int
    highest: int
    names: tuple[str, ...] = ()
    written_up_to: int | None = None
    """The highest number that may be written, if that is not the highest; beyond it one counts on from the lowest."""
    has_last: bool = False
    """Whether `L` names the last one, whichever that is: `LAST_DAY` among the numbers."""

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self.highest - self.lowest + 1


_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

MINUTE = CronField(0, 59)
HOUR = CronField(0, 23)
LAST_DAY = 32
"""Among the days of a month: its last one, however long the month is."""
DAY_OF_MONTH = CronField(1, 31, has_last=True)
MONTH_OF_YEAR = CronField(1, 12, _MONTHS)
DAY_OF_WEEK = CronField(0, 6, _DAYS, written_up_to=7)


class CronFieldError(ValueError):
    """The text of a field cannot be read; the message goes on where the name of the field ends."""


@lru_cache(maxsize=4096)
def read_field(cron_field: CronField, text: str) -> frozenset[int]:
    """Return the numbers that `text` names: `*`, `5`, `mon`, `8-17`, `fri-mon`, `*/15`, `8-17/3`, or a list of these.

    Among the days of a month, `L` is the last one.

    Names may be cut to three letters or more, and a range may go on past the end of its field, at the beginning.
    Raise `CronFieldError`.
    """
    if len(text) > LONGEST_FIELD:
        raise CronFieldError(f"may have at most {LONGEST_FIELD} characters")
    parts = text.split(",")
    numbers: set[int] = set()
    for position, part in enumerate(parts, 1):
        try:
            numbers.update(_read_part(cron_field, part.strip().casefold()))
        except CronFieldError as error:
            where = f" (part {position} of {len(parts)})" if len(parts) > 1 else ""
            raise CronFieldError(f"{error}{where}") from None
    return frozenset(numbers)


def _read_part(cron_field: CronField, part: str) -> Iterable[int]:
    if not part:
        raise CronFieldError("must not be empty")
    if part == "l" and cron_field.has_last:
        return (LAST_DAY,)
    span, slash, step = part.partition("/")
    first, dash, last = span.partition("-")
    numbers: Sequence[int]
    if span == "*":
        numbers = range(cron_field.lowest, cron_field.highest + 1)
    elif slash and not dash:
        raise CronFieldError("has a step after a single number; it takes * or a range")
    else:
        low = _read_number(cron_field, first)
        high = _read_number(cron_field, last) if dash else low
        numbers = _span(cron_field, low, high)
    if slash:
        numbers = numbers[:: _read_step(cron_field, step)]
    # Monday to Sunday is 1-7, and its last day is day 0.
    return (cron_field.lowest + (n - cron_field.lowest) % cron_field.size for n in numbers)


def _span(cron_field: CronField, low: int, high: int) -> Sequence[int]:
    if low <= high:
        return range(low, high + 1)
    return [*range(low, cron_field.highest + 1), *range(cron_field.lowest, high + 1)]


def _read_number(cron_field: CronField, text: str) -> int:
    if len(text) >= _SHORTEST_NAME:
        for number, name in enumerate(cron_field.names, cron_field.lowest):
            if name.startswith(text):
                return number
    if not (text.isascii() and text.isdigit()):
        known = "a number or a name" if cron_field.names else "a number"
        raise CronFieldError(f"must be *, {known}, a range, a step, or a list of these")
    number = int(text)
    highest = cron_field.written_up_to or cron_field.highest
    if not cron_field.lowest <= number <= highest:
        raise CronFieldError(f"must be between {cron_field.lowest} and {highest}")
    return number


def _read_step(cron_field: CronField, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= cron_field.size):
        raise CronFieldError(f"must have a step between 1 and {cron_field.size}")
    return int(text)


@dataclass(frozen=True, slots=True)
class CronTable:
    """Which minutes of the calendar a crontab names. A clock without a zone: no minute is skipped or repeated here."""

    next_minute: tuple[int, ...]
    """By minute: the first named one from there on, or 60."""
    next_hour: tuple[int, ...]
    """By hour: the first named one from there on, or 24."""
    next_month: tuple[int, ...]
    """By month, 0 being no month: the first named one from there on, or 13."""
    days: tuple[int, ...]
    """By the weekday on which a month begins, Monday being 0: bit n is set when day n is named."""
    last_days: tuple[bool, ...]
    """By the weekday of the last day of a month, Monday being 0: whether that day is named as the last one."""

    def next_match(self, wall: datetime) -> datetime | None:
        """Return the first named minute not before `wall` (naive, a whole minute), or None before the year 9999."""
        hour, minute = self.next_hour[wall.hour], self.next_minute[0]
        if hour == wall.hour:
            minute = self.next_minute[wall.minute]
            if minute == _NO_MINUTE:
                hour, minute = self.next_hour[hour + 1], self.next_minute[0]
        day = self._first_day(wall.year, wall.month, wall.day + (hour == _NO_HOUR))
        if day is None:
            return None
        if day != (wall.year, wall.month, wall.day):
            hour, minute = self.next_hour[0], self.next_minute[0]
        return datetime(*day, hour, minute)  # noqa: DTZ001 - a wall clock has no zone

    def _first_day(self, year: int, month: int, day: int) -> tuple[int, int, int] | None:
        """Return the first named day not before `day`, which may be one past the end of its month."""
        while year < MAXYEAR:
            named = self.next_month[month]
            if named == _NO_MONTH:
                year, month, day = year + 1, 1, 1
                continue
            if named != month:
                month, day = named, 1
            weekday, length = monthrange(year, month)
            named_days = self.days[weekday] & (2 << length) - 1
            if self.last_days[(weekday + length - 1) % 7]:
                named_days |= 1 << length
            left = named_days >> day << day
            if left:
                return year, month, (left & -left).bit_length() - 1
            month, day = month + 1, 1
        return None


_NO_MINUTE, _NO_HOUR, _NO_MONTH = 60, 24, 13


@lru_cache(maxsize=4096)
def cron_table(
    minutes: frozenset[int],
    hours: frozenset[int],
    days_of_month: frozenset[int],
    months: frozenset[int],
    days_of_week: frozenset[int],
) -> CronTable:
    """Return the table of a crontab; equal crontabs share one."""
    return CronTable(
        next_minute=_next_in(minutes, _NO_MINUTE),
        next_hour=_next_in(hours, _NO_HOUR),
        next_month=_next_in(months, _NO_MONTH),
        days=tuple(
            # The first of a month that begins on a Monday is day 1 of a week that cron begins on Sunday.
            sum(
                1 << day
                for day in days_of_month
                if day != LAST_DAY and (first + day) % 7 in days_of_week
            )
            for first in range(7)
        ),
        last_days=tuple(
            LAST_DAY in days_of_month and (last + 1) % 7 in days_of_week for last in range(7)
        ),
    )


def _next_in(named: frozenset[int], end: int) -> tuple[int, ...]:
    return tuple(min((n for n in named if n >= start), default=end) for start in range(end + 1))


_MOST_DAYS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def has_a_date(days_of_month: frozenset[int], months: frozenset[int]) -> bool:
    """Tell whether any of `months` is ever long enough for any of `days_of_month`.

    If so, every day of the week comes round: the calendar repeats after 400 years, and in these each date
    falls on each weekday, 29 February included.
    """
    return LAST_DAY in days_of_month or any(
        min(days_of_month) <= _MOST_DAYS[month] for month in months
    )


CRON_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
"""In the order of crontab(5)."""
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def split_crontab(text: str) -> Sequence[str]:
    """Return the five fields of a crontab in one line, or of `@daily` and the like; raise `CronFieldError`."""
    if len(text) > (LONGEST_FIELD + 1) * len(CRON_FIELDS):
        raise CronFieldError(f"may have at most {LONGEST_FIELD} characters a field")
    parts = _MACROS.get(text.strip().casefold(), text).split()
    if len(parts) != len(CRON_FIELDS):
        raise CronFieldError(
            f"must be five fields (*/15 8-17 * * mon-fri) or one of {_MACRO_NAMES}"
        )
    return parts


_MACRO_NAMES = ", ".join(_MACROS)
