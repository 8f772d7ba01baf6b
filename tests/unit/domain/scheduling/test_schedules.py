"""Which schedules there are, what is refused, and how they look as plain data."""

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.scheduling.codec import read_schedule, schedule_data
from domain.scheduling.crontab import (
    DAY_OF_WEEK,
    HOUR,
    MINUTE,
    MONTH_OF_YEAR,
    CronField,
    CronFieldError,
    read_field,
)
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.schedules import (
    Clocked,
    Crontab,
    Interval,
    Period,
    Schedule,
    Solar,
    SolarEvent,
)
from tests.support.builders import cron

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


def problems(kind: Any, data: Any) -> dict[str, str]:
    """Return what is wrong with a schedule given as plain data, by field."""
    with pytest.raises(InvalidDefinition) as refused:
        read_schedule(kind, data)
    return refused.value.problems


# --- the fields of a crontab -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron_field", "text", "numbers"),
    [
        (MINUTE, "*/20", {0, 20, 40}),
        (MINUTE, "5", {5}),
        (MINUTE, "05", {5}),
        (MINUTE, "1,13,30-33,50-59/3", {1, 13, 30, 31, 32, 33, 50, 53, 56, 59}),
        (MINUTE, "*/60", {0}),
        (MINUTE, "3 , 4", {3, 4}),
        (HOUR, "22-2", {22, 23, 0, 1, 2}),
        (HOUR, "22-4/3", {22, 1, 4}),
        (DAY_OF_WEEK, "mon-fri", {1, 2, 3, 4, 5}),
        (DAY_OF_WEEK, "Friday-MON", {5, 6, 0, 1}),
        (DAY_OF_WEEK, "sat-sun", {6, 0}),
        (DAY_OF_WEEK, "7", {0}),
        (DAY_OF_WEEK, "5-7", {5, 6, 0}),
        (DAY_OF_WEEK, "7-2", {0, 1, 2}),
        (DAY_OF_WEEK, "0-7", {0, 1, 2, 3, 4, 5, 6}),
        (DAY_OF_WEEK, "1-7/2", {1, 3, 5, 0}),
        (MONTH_OF_YEAR, "*/3", {1, 4, 7, 10}),
        (MONTH_OF_YEAR, "nov-feb", {11, 12, 1, 2}),
        (MONTH_OF_YEAR, "September", {9}),
        (DAY_OF_WEEK, "tues,thurs", {2, 4}),
    ],
)
def test_a_field_names_numbers(cron_field: CronField, text: str, numbers: set[int]) -> None:
    assert read_field(cron_field, text) == numbers


@pytest.mark.parametrize(
    ("field", "text", "problem"),
    [
        ("minute", "", "must not be empty"),
        ("minute", "1,,2", "must not be empty (part 2 of 3)"),
        ("minute", "1,", "must not be empty (part 2 of 2)"),
        ("minute", "60", "must be between 0 and 59"),
        ("minute", "0,99", "must be between 0 and 59 (part 2 of 2)"),
        ("minute", "*/0", "must have a step between 1 and 60"),
        ("minute", "*/61", "must have a step between 1 and 60"),
        ("minute", "*/", "must have a step between 1 and 60"),
        ("minute", "*/-5", "must have a step between 1 and 60"),
        ("minute", "*/1.5", "must have a step between 1 and 60"),
        ("minute", "5/15", "has a step after a single number; it takes * or a range"),
        ("minute", "-5", "must be *, a number, a range, a step, or a list of these"),
        ("minute", "5-", "must be *, a number, a range, a step, or a list of these"),
        ("minute", "1-2-3", "must be *, a number, a range, a step, or a list of these"),
        ("minute", "1 2", "must be *, a number, a range, a step, or a list of these"),
        ("minute", "٣", "must be *, a number, a range, a step, or a list of these"),
        ("minute", "mon", "must be *, a number, a range, a step, or a list of these"),
        ("minute", "0," * 100 + "0", "may have at most 200 characters"),
        ("hour", "24", "must be between 0 and 23"),
        ("hour", "8-24", "must be between 0 and 23"),
        ("day_of_month", "0", "must be between 1 and 31"),
        ("day_of_month", "32", "must be between 1 and 31"),
        ("day_of_month", "L-2", "must be *, a number, a range, a step, or a list of these"),
        ("month_of_year", "13", "must be between 1 and 12"),
        (
            "month_of_year",
            "mon",
            "must be *, a number or a name, a range, a step, or a list of these",
        ),
        ("day_of_week", "8", "must be between 0 and 7"),
        ("day_of_week", "mo", "must be *, a number or a name, a range, a step, or a list of these"),
        (
            "day_of_week",
            "5#2",
            "must be *, a number or a name, a range, a step, or a list of these",
        ),
    ],
)
def test_a_field_that_makes_no_sense_is_named_with_its_problem(
    field: str, text: str, problem: str
) -> None:
    assert problems("crontab", {field: text}) == {f"schedule.{field}": problem}


@pytest.mark.parametrize(
    ("day", "months"), [("30", "2"), ("31", "2,4,6,9,11"), ("30-31", "feb"), ("31", "4-6/2")]
)
def test_a_day_that_none_of_the_months_has_is_refused(day: str, months: str) -> None:
    assert problems("crontab", {"day_of_month": day, "month_of_year": months}) == {
        "schedule.day_of_month": "is a day that none of the months has"
    }


def test_the_29th_of_february_is_a_day() -> None:
    assert Crontab(day_of_month="29", month_of_year="2").day_of_month == "29"


@pytest.mark.parametrize(
    "zone",
    [
        *("", "Nowhere", "Europe/Atlantis", "America", "europe/berlin ", "UTC+1", "+01:00"),
        *("../etc/passwd", "/etc/localtime", "Europe//Berlin", "zone.tab", "Europe/Berlin/"),
        *("localtime", "posixrules", "right/UTC", "a\0b", "\ud800", "x" * 5000),
    ],
)
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    assert problems("crontab", {"timezone": zone}) == {
        "schedule.timezone": "must be the name of a time zone, such as Europe/Berlin"
    }


def test_all_that_is_wrong_with_a_crontab_is_said_at_once() -> None:
    with pytest.raises(InvalidDefinition) as refused:
        Crontab(minute="60", hour="x", day_of_month="*/0", timezone="Mars/Olympus")

    assert list(refused.value.problems) == [
        "schedule.minute",
        "schedule.hour",
        "schedule.day_of_month",
        "schedule.timezone",
    ]
    assert refused.value.field == "schedule.minute"
    assert str(refused.value).startswith("schedule.minute must be between 0 and 59; schedule.hour")


@given(st.text("0123456789*/-,?L#abc \n", max_size=12))
def test_any_text_is_read_as_some_minutes_or_refused(text: str) -> None:
    try:
        numbers = read_field(MINUTE, text)
    except CronFieldError:
        return
    assert numbers
    assert numbers <= set(range(60))


# --- the other kinds ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "period", "length"),
    [
        (1, Period.WEEKS, timedelta(days=7)),
        (2, Period.DAYS, timedelta(hours=48)),
        (100, Period.MILLISECONDS, timedelta(seconds=0.1)),
        (500_000, Period.MICROSECONDS, timedelta(seconds=0.5)),
        (36_525, Period.DAYS, timedelta(days=36_525)),
    ],
)
def test_an_interval_has_an_exact_length(every: int, period: Period, length: timedelta) -> None:
    assert Interval(every, period).length == length


@pytest.mark.parametrize(
    ("every", "period", "problem"),
    [
        (0, "minutes", "must be at least 1"),
        (-5, "minutes", "must be at least 1"),
        (1, "microseconds", "must come to 100 milliseconds or more"),
        (99, "milliseconds", "must come to 100 milliseconds or more"),
        (36_526, "days", "must come to 100 years or less"),
        (10**30, "weeks", "must come to 100 years or less"),
        (10**400, "microseconds", "must come to 100 years or less"),
        (1.5, "minutes", "must be a whole number"),
        ("5", "minutes", "must be a whole number"),
        (True, "minutes", "must be a whole number"),
        (None, "minutes", "must be a whole number"),
    ],
)
def test_an_interval_of_no_time_or_too_much_is_refused(
    every: object, period: str, problem: str
) -> None:
    assert problems("interval", {"every": every, "period": period}) == {"schedule.every": problem}


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ({"latitude": 90.01, "longitude": 0}, {"schedule.latitude"}),
        ({"latitude": 0, "longitude": -181}, {"schedule.longitude"}),
        (
            {"latitude": float("nan"), "longitude": float("inf")},
            {"schedule.latitude", "schedule.longitude"},
        ),
        ({"latitude": 10**400, "longitude": 0}, {"schedule.latitude"}),
        ({"latitude": "12", "longitude": False}, {"schedule.latitude", "schedule.longitude"}),
        ({"latitude": 0}, {"schedule.longitude"}),
    ],
)
def test_a_place_that_is_not_on_earth_is_refused(data: dict[str, object], fields: set[str]) -> None:
    assert problems("solar", {"event": "sunset", **data}).keys() == fields


def test_an_instant_must_say_when_it_is() -> None:
    assert problems("clocked", {"at": "2026-06-15T12:00:00"}) == {
        "schedule.at": "must say its offset from UTC (…Z or …+01:00)"
    }
    assert problems("clocked", {"at": "noon"}) == {
        "schedule.at": "must be a date and a time (2026-11-01T05:00:00Z)"
    }
    assert problems("clocked", {"at": "0001-01-01T00:00:00+05:00"}) == {
        "schedule.at": "is out of range"
    }


def test_an_instant_is_kept_in_utc() -> None:
    assert Clocked(datetime(2026, 6, 15, 14, tzinfo=timezone(timedelta(hours=2)))).at.tzinfo is UTC


# --- as values and as plain data --------------------------------------------------------------------

ONE_OF_EACH = [
    (Interval(5, Period.MINUTES), "interval", {"every": 5, "period": "minutes"}),
    (
        cron("*/15 8-17 * * mon-fri", "Europe/Berlin"),
        "crontab",
        {
            "minute": "*/15",
            "hour": "8-17",
            "day_of_month": "*",
            "month_of_year": "*",
            "day_of_week": "mon-fri",
            "timezone": "Europe/Berlin",
        },
    ),
    (
        Solar(SolarEvent.SUNSET, 52.52, 13.4),
        "solar",
        {"event": "sunset", "latitude": 52.52, "longitude": 13.4},
    ),
    (Clocked(NOON), "clocked", {"at": "2026-06-15T12:00:00Z"}),
]


@pytest.mark.parametrize(("schedule", "kind", "data"), ONE_OF_EACH)
def test_a_schedule_is_plain_data_and_back(
    schedule: Schedule, kind: str, data: dict[str, object]
) -> None:
    assert schedule.kind == kind
    assert schedule_data(schedule) == data
    assert read_schedule(kind, data) == schedule


@pytest.mark.parametrize("schedule", [schedule for schedule, _, _ in ONE_OF_EACH])
def test_equal_schedules_hash_alike_and_survive_a_copy(schedule: Schedule) -> None:
    copies = {schedule, copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))}  # noqa: S301 - our own

    assert copies == {schedule}


def test_the_default_of_a_crontab_is_any_time_in_utc() -> None:
    assert read_schedule("crontab", {}) == cron("* * * * *", "UTC")


def test_a_number_may_stand_for_its_text() -> None:
    assert read_schedule("crontab", {"minute": 5, "hour": 0}) == cron("5 0 * * *")


@pytest.mark.parametrize(
    ("kind", "data", "fields"),
    [
        ("yearly", {}, {"kind"}),
        (None, {}, {"kind"}),
        (["crontab"], {}, {"kind"}),
        ("crontab", [], {"schedule"}),
        ("crontab", None, {"schedule"}),
        ("crontab", {"minute": ["1"], "hour": True}, {"schedule.minute", "schedule.hour"}),
        ("crontab", {"minutes": "1"}, {"schedule.minutes"}),
        ("interval", {}, {"schedule.every", "schedule.period"}),
        ("interval", {"every": 1, "period": "fortnights"}, {"schedule.period"}),
        ("interval", {"every": 1, "period": ["days"]}, {"schedule.period"}),
        ("interval", {"every": 1, "period": "days", "length": 3}, {"schedule.length"}),
        ("solar", {"event": "eclipse", "latitude": 0, "longitude": 0}, {"schedule.event"}),
        ("clocked", {"at": 1_781_524_800}, {"schedule.at"}),
        ("clocked", {"at": None}, {"schedule.at"}),
    ],
)
def test_plain_data_that_is_no_schedule_is_refused_field_by_field(
    kind: object, data: object, fields: set[str]
) -> None:
    assert problems(kind, data).keys() == fields
