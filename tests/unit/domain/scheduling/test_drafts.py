"""What somebody wrote about a periodic task: one answer says everything that is wrong with it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.celery.publishing_options import CeleryPublishingOptionsPolicy
from domain.scheduling import codec
from domain.scheduling.codec import SCHEDULES, schedule_fields
from domain.scheduling.drafts import FIELDS, definition_data, read_draft
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.fields import FieldKind, Flag, OrNull, Seconds, Text, Whole
from domain.scheduling.misfire import Misfire
from domain.scheduling.registered_tasks import Parameter, RegisteredTask
from domain.scheduling.schedules import (
    Clocked,
    Crontab,
    Interval,
    Period,
    ScheduleKind,
    Solar,
    SolarEvent,
)
from tests.support.builders import a_definition

LEAST: dict[str, object] = {
    "name": "hourly",
    "task": "reports.send",
    "kind": "crontab",
    "schedule": {"minute": "0"},
}


def problems(**fields: object) -> dict[str, str]:
    """Return what is wrong with a draft that is right but for these fields."""
    return dict(read_draft({**LEAST, **fields}).problems)


# --- reading ------------------------------------------------------------------------------------


def test_a_name_a_task_and_a_schedule_are_enough() -> None:
    definition = read_draft(LEAST).build()

    assert definition.schedule == Crontab(minute="0")
    assert definition.misfire is Misfire.RUN_ONCE
    assert definition.jitter == timedelta(0)


def test_every_field_can_be_written() -> None:
    definition = read_draft(
        {
            "name": "every",
            "description": "All of it.",
            "task": "reports.send",
            "kind": "interval",
            "schedule": {"every": 5, "period": "minutes"},
            "args": [1, "two"],
            "kwargs": {"three": None},
            "options": {"queue": "mail"},
            "start_at": "2026-01-01T00:00:00+01:00",
            "end_at": datetime(2027, 1, 1, tzinfo=UTC),
            "one_off": False,
            "max_runs": 10,
            "max_running": 1,
            "jitter": 1.5,
            "misfire": "run_all",
            "misfire_grace": 60,
        }
    ).build()

    assert definition.start_at == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert definition.jitter == timedelta(seconds=1.5)
    assert definition.misfire_grace == timedelta(minutes=1)
    assert definition.options.given == {"queue": "mail"}


@pytest.mark.parametrize(
    "schedule",
    [
        Interval(5, Period.MINUTES),
        Crontab(minute="*/15", timezone="America/New_York"),
        Solar(SolarEvent.SUNSET, 52.5, 13.4),
        Clocked(datetime(2026, 11, 1, 5, tzinfo=UTC)),
    ],
)
def test_the_description_of_a_definition_makes_the_same_definition(schedule: Any) -> None:
    definition = a_definition(
        schedule=schedule,
        args=(1, [2]),
        kwargs={"a": {"b": None}},
        jitter=timedelta(seconds=3),
        misfire_grace=timedelta(hours=1),
        end_at=datetime(2030, 1, 1, tzinfo=UTC),
    )

    assert read_draft(definition_data(definition)).build() == definition


# --- what is wrong ------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidDefinition) as raised:
        read_draft(
            {
                "name": "",
                "description": "\0",
                "task": 5,
                "kind": "crontab",
                "schedule": {"minute": "1,,2", "hour": "25", "day_of_week": "someday", "zone": "x"},
                "args": {},
                "kwargs": [],
                "options": {"priority": "high", "soft_time_limit": 2, "time_limit": 1, "eta": 1},
                "start_at": "yesterday",
                "end_at": "2026-01-01T00:00:00",
                "one_off": None,
                "max_runs": 0,
                "max_running": 1.5,
                "jitter": float("nan"),
                "misfire": "perhaps",
                "misfire_grace": -1,
                "colour": "blue",
            },
            check_options=CeleryPublishingOptionsPolicy().problems,
        ).build()

    assert raised.value.problems.keys() == {
        "name",
        "description",
        "task",
        "schedule.minute",
        "schedule.hour",
        "schedule.day_of_week",
        "schedule.zone",
        "args",
        "kwargs",
        "options.priority",
        "options.soft_time_limit",
        "options.eta",
        "start_at",
        "end_at",
        "one_off",
        "max_runs",
        "max_running",
        "jitter",
        "misfire",
        "misfire_grace",
        "colour",
    }


def test_every_bad_field_of_a_crontab_is_named() -> None:
    fields = dict.fromkeys(("minute", "hour", "day_of_month", "month_of_year"), "x")

    assert problems(schedule={**fields, "day_of_week": "x", "timezone": "Mars/Olympus"}).keys() == {
        "schedule.minute",
        "schedule.hour",
        "schedule.day_of_month",
        "schedule.month_of_year",
        "schedule.day_of_week",
        "schedule.timezone",
    }


def test_missing_fields_are_named() -> None:
    assert read_draft({}).problems == dict.fromkeys(
        ("name", "task", "kind", "schedule"), "is missing"
    )


@pytest.mark.parametrize(
    ("kind", "schedule", "named"),
    [
        ("crontab", {"day_of_month": "31", "month_of_year": "2,4"}, "schedule.day_of_month"),
        ("interval", {"every": 0, "period": "seconds"}, "schedule.every"),
        ("interval", {"every": 1, "period": "microseconds"}, "schedule.every"),
        ("interval", {"every": 10**400, "period": "weeks"}, "schedule.every"),
        ("interval", {"every": True, "period": "weeks"}, "schedule.every"),
        ("interval", {"every": 1, "period": "fortnights"}, "schedule.period"),
        ("solar", {"event": "noon", "latitude": 0, "longitude": 0}, "schedule.event"),
        ("solar", {"event": "sunset", "latitude": 91, "longitude": 0}, "schedule.latitude"),
        ("solar", {"event": "sunset", "latitude": 0}, "schedule.longitude"),
        ("clocked", {"at": "2026-02-30T00:00:00Z"}, "schedule.at"),
        ("clocked", {"at": "2026-02-28"}, "schedule.at"),
        ("clocked", {"at": None}, "schedule.at"),
        ("monthly", {}, "kind"),
        (None, {}, "kind"),
        ([], {}, "kind"),
        ("crontab", [], "schedule"),
        ("crontab", None, "schedule"),
    ],
)
def test_errors_of_a_schedule_are_named(kind: object, schedule: object, named: str) -> None:
    assert [*problems(kind=kind, schedule=schedule)] == [named]


WRONG: Mapping[str, Sequence[object]] = {
    "name": (None, 5, "", " ", "a" * 201, "a\nb", "\ud800"),
    "task": (None, "", "\0", "x" * 256),
    "description": (None, "\0", "x" * 2001),
    "args": (None, "text", {}, ["\0"], [float("inf")], [2**63]),
    "kwargs": (None, [], {"a": "\ud800"}, {"\0": 1}),
    "options": (None, [], "queue"),
    "start_at": ("", 5, "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "\0", "🙂", {}),
    "end_at": ("0001-01-01T00:00:00+14:00", True),
    "max_runs": (0, -1, 2**31, 1.5, "1", True),
    "max_running": (0, 2**400, []),
    "jitter": (-1, 86_401, 1e300, "1", None, True),
    "misfire_grace": (-1, 1e300, "1", float("inf")),
    "one_off": (0, "true", None),
    "misfire": ("", "RUN_ONCE", None, []),
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_value_that_cannot_be_is_named(field: str, value: object) -> None:
    assert [*problems(**{field: value})] == [field]


@pytest.mark.parametrize(
    "field", ["start_at", "end_at", "max_runs", "max_running", "misfire_grace"]
)
def test_limits_that_are_not_set_may_be_null(field: str) -> None:
    assert not problems(**{field: None})


def test_an_end_before_the_start_is_named() -> None:
    found = problems(start_at="2026-01-02T00:00:00Z", end_at="2026-01-01T00:00:00Z")

    assert [*found] == ["end_at"]


def test_the_name_of_an_unknown_field_is_not_repeated_in_full() -> None:
    assert [*problems(**{"x" * 10_000: 1})] == ["x" * 50]


# --- what stands beside -------------------------------------------------------------------------


def test_fields_beside_the_definition_are_read_and_named_with_the_others() -> None:
    right = read_draft({**LEAST, "enabled": False}, extra={"enabled": Flag()})
    wrong = read_draft({**LEAST, "enabled": 1, "jitter": -1}, extra={"enabled": Flag()})

    assert right.extra == {"enabled": False}
    assert wrong.problems.keys() == {"enabled", "jitter"}


# --- tasks that are known -----------------------------------------------------------------------

SEND = RegisteredTask(name="reports.send", parameters=(Parameter(name="to"),))


def test_an_unknown_task_is_named_with_all_other_errors() -> None:
    draft = read_draft({**LEAST, "jitter": -1}).check_signature([])

    assert draft.problems.keys() == {"task", "jitter"}


def test_arguments_that_do_not_suit_the_task_are_named() -> None:
    assert not read_draft({**LEAST, "args": ["ada"]}).check_signature([SEND]).problems
    assert read_draft({**LEAST, "kwargs": {"from": 1}}).check_signature([SEND]).problems.keys() == {
        "kwargs.from",
        "kwargs",
    }


def test_of_arguments_that_are_none_it_is_not_said_that_they_do_not_suit() -> None:
    assert read_draft({**LEAST, "args": 5}).check_signature([SEND]).problems == {
        "args": "must be a list"
    }


def test_a_task_without_a_name_is_not_searched() -> None:
    assert read_draft({**LEAST, "task": ""}).check_signature([]).problems.keys() == {"task"}


# --- what the table of fields says --------------------------------------------------------------


def at_the_limits(kind: FieldKind) -> tuple[list[object], list[object]]:
    """Return values at the limits of a field, and values just beyond them."""
    match kind:
        case OrNull(kind=inner):
            allowed, refused = at_the_limits(inner)
            return [None, *allowed], refused
        case Text(shortest=shortest, longest=int(longest)):
            return ["x" * shortest, "x" * longest], ["x" * (longest + 1), *([""] * shortest)]
        case Whole(lowest=lowest, highest=int(highest)):
            return [lowest, highest], [lowest - 1, highest + 1]
        case Seconds(longest=longest):
            return [0, longest.total_seconds()], [-0.001, longest.total_seconds() + 0.001]
        case _:
            return [], []


@pytest.mark.parametrize("name", [name for name in FIELDS if any(at_the_limits(FIELDS[name]))])
def test_the_limits_of_a_field_are_those_that_the_table_says(name: str) -> None:
    """The API shows them."""
    allowed, refused = at_the_limits(FIELDS[name])

    assert [value for value in allowed if problems(**{name: value})] == []
    assert [value for value in refused if problems(**{name: value}).keys() != {name}] == []


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_field_of_a_schedule_has_a_kind(kind: ScheduleKind) -> None:
    assert schedule_fields(SCHEDULES[kind]).keys() <= codec.FIELDS.keys()
