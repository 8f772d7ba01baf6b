"""The four kinds of schedule as values: they check themselves, and are frozen and hashable."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import ClassVar
from zoneinfo import ZoneInfo

from domain.scheduling.crontab import (
    CRON_FIELDS,
    DAY_OF_MONTH,
    DAY_OF_WEEK,
    HOUR,
    MINUTE,
    MONTH_OF_YEAR,
    CronFieldError,
    CronTable,
    cron_table,
    has_a_date,
    read_field,
)
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.zones import find_zone


class ScheduleKind(StrEnum):
    """The kinds of schedules."""

    INTERVAL = "interval"
    CRONTAB = "crontab"
    SOLAR = "solar"
    CLOCKED = "clocked"


class Period(StrEnum):
    """The unit of an interval. All are exact: a day is 24 hours, also when the clocks change."""

    WEEKS = "weeks"
    DAYS = "days"
    HOURS = "hours"
    MINUTES = "minutes"
    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    MICROSECONDS = "microseconds"


SHORTEST_INTERVAL = timedelta(milliseconds=100)
"""A beat that finds, claims and publishes each slot by itself keeps up with this."""
LONGEST_INTERVAL = timedelta(days=36_525)


@dataclass(frozen=True, slots=True)
class Interval:
    """Every `every` `period`, counted from an anchor: 100 ms to 100 years."""

    kind: ClassVar = ScheduleKind.INTERVAL

    every: int
    period: Period
    length: timedelta = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InvalidDefinition({"schedule.every": "must be at least 1"})
        try:
            length = timedelta(**{self.period.value: self.every})
        except OverflowError:
            length = timedelta.max
        if length < SHORTEST_INTERVAL:
            raise InvalidDefinition({"schedule.every": "must come to 100 milliseconds or more"})
        if length > LONGEST_INTERVAL:
            raise InvalidDefinition({"schedule.every": "must come to 100 years or less"})
        object.__setattr__(self, "length", length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crontab:
    """The minutes that all five fields name, on the clocks of `timezone` (an IANA name).

    Unlike in crontab(5), a day must suit both `day_of_month` and `day_of_week`: `1-7` with `mon` is the first Monday
    of a month. Sunday is 0 or 7.
    """

    kind: ClassVar = ScheduleKind.CRONTAB

    minute: str = "*"
    hour: str = "*"
    day_of_month: str = "*"
    month_of_year: str = "*"
    day_of_week: str = "*"
    timezone: str = "UTC"
    table: CronTable = field(init=False, compare=False, repr=False)
    zone: ZoneInfo = field(init=False, compare=False, repr=False)
    repeats: bool = field(init=False, compare=False, repr=False)
    """Whether it fires whenever the clocks show it, twice or not at all: if the hour is a wildcard or has a step."""

    def __post_init__(self) -> None:
        problems: dict[str, str] = {}
        named: dict[str, frozenset[int]] = {}
        for name, cron_field in _CRON_FIELDS.items():
            try:
                named[name] = read_field(cron_field, getattr(self, name))
            except CronFieldError as error:
                problems[f"schedule.{name}"] = str(error)
        if {"day_of_month", "month_of_year"} <= named.keys() and not has_a_date(
            named["day_of_month"], named["month_of_year"]
        ):
            problems["schedule.day_of_month"] = "is a day that none of the months has"
        try:
            object.__setattr__(self, "zone", find_zone(self.timezone))
        except LookupError:
            problems["schedule.timezone"] = "must be the name of a time zone, such as Europe/Berlin"
        if problems:
            raise InvalidDefinition(problems)
        object.__setattr__(self, "table", cron_table(*named.values()))
        every_hour = len(named["hour"]) == HOUR.size
        object.__setattr__(self, "repeats", every_hour or "/" in self.hour)


_CRON_FIELDS = dict(
    zip(CRON_FIELDS, (MINUTE, HOUR, DAY_OF_MONTH, MONTH_OF_YEAR, DAY_OF_WEEK), strict=True)
)


class SolarEvent(StrEnum):
    """A moment of the sun's day."""

    DAWN_ASTRONOMICAL = "dawn_astronomical"
    DAWN_NAUTICAL = "dawn_nautical"
    DAWN_CIVIL = "dawn_civil"
    SUNRISE = "sunrise"
    SOLAR_NOON = "solar_noon"
    SUNSET = "sunset"
    DUSK_CIVIL = "dusk_civil"
    DUSK_NAUTICAL = "dusk_nautical"
    DUSK_ASTRONOMICAL = "dusk_astronomical"


MAX_LATITUDE = 90
MAX_LONGITUDE = 180


@dataclass(frozen=True, slots=True)
class Solar:
    """Each time `event` happens at a place (degrees, north and east positive)."""

    kind: ClassVar = ScheduleKind.SOLAR

    event: SolarEvent
    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        problems = {
            f"schedule.{name}": f"must be between -{limit} and {limit} degrees"
            for name, value, limit in (
                ("latitude", self.latitude, MAX_LATITUDE),
                ("longitude", self.longitude, MAX_LONGITUDE),
            )
            if not abs(value) <= limit  # so that NaN is refused too
        }
        if problems:
            raise InvalidDefinition(problems)


@dataclass(frozen=True, slots=True)
class Clocked:
    """Once, at an instant."""

    kind: ClassVar = ScheduleKind.CLOCKED

    at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", in_utc(self.at, field="schedule.at"))


Schedule = Interval | Crontab | Solar | Clocked


BEGINNING = datetime(1, 1, 3, tzinfo=UTC)
END = datetime(9998, 12, 30, tzinfo=UTC)
"""From an instant between these, no calculation leaves the calendar, in any zone."""


def in_utc(moment: datetime, *, field: str) -> datetime:
    """Return `moment` in UTC; raise `InvalidDefinition` if it has no offset or is out of range."""
    if moment.utcoffset() is None:
        raise InvalidDefinition({field: "must say its offset from UTC (…Z or …+01:00)"})
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise InvalidDefinition({field: "is out of range"}) from None
    if not BEGINNING <= moment <= END:
        raise InvalidDefinition({field: "is out of range"})
    return moment
