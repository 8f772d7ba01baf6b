"""Schedules as plain data: what the API takes, the database holds and a configuration says."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from domain.scheduling.crontab import CRON_FIELDS, LONGEST_FIELD, CronFieldError, split_crontab
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.fields import (
    Choice,
    FieldKind,
    Instant,
    InvalidValue,
    Number,
    NumericText,
    Text,
    Whole,
)
from domain.scheduling.json_values import is_object
from domain.scheduling.schedules import (
    MAX_LATITUDE,
    MAX_LONGITUDE,
    Clocked,
    Crontab,
    Interval,
    Period,
    Schedule,
    ScheduleKind,
    Solar,
    SolarEvent,
)


def read_schedule(kind: object, data: object) -> Schedule:
    """Return the schedule that plain data describes; raise `InvalidDefinition` that names every field that is wrong.

    `data` maps the names of the fields of the class (snake_case) to text and numbers; `at` may be a datetime. A
    crontab may be one text, or have one as `crontab` (see `expanded_crontab`).
    """
    try:
        schedule_class = SCHEDULES[FIELDS["kind"].read(kind)]
    except InvalidValue as error:
        raise InvalidDefinition({"kind": str(error)}) from None
    data = _fields(kind, data)
    known = schedule_fields(schedule_class)
    problems = {
        f"schedule.{str(name)[:50]}": f"is not a field of {kind} schedules"
        for name in data
        if name not in known
    }
    values: dict[str, object] = {}
    for name, field in known.items():
        try:
            if name in data:
                values[name] = field.kind.read(data[name])
            elif field.default is MISSING:
                problems[f"schedule.{name}"] = "is missing"
        except InvalidValue as error:
            problems[f"schedule.{name}"] = str(error)
    placeholders = {name: value for name, value in _PLACEHOLDERS.items() if name in known}
    given: dict[str, Any] = {**placeholders, **values}
    try:
        schedule = schedule_class(**given)
    except InvalidDefinition as error:
        problems = {**error.problems, **problems}
    else:
        if not problems:
            return schedule
    raise InvalidDefinition(problems)


def _fields(kind: object, data: object) -> dict[object, object]:
    fields = expanded_crontab(data) if kind == Crontab.kind else data
    if not is_object(fields):
        raise InvalidDefinition({"schedule": "must be an object"})
    return fields


def expanded_crontab(data: object) -> object:
    """Return the data of a crontab with its five fields apart; raise `InvalidDefinition`.

    `"30 9 * * mon-fri"` and `{"crontab": "30 9 * * mon-fri", "timezone": "Europe/Berlin"}` are written in one line.
    """
    if isinstance(data, str):
        data = {"crontab": data}
    if not is_object(data) or "crontab" not in data:
        return data
    others = {name: value for name, value in data.items() if name != "crontab"}
    if not others.keys().isdisjoint(CRON_FIELDS):
        raise InvalidDefinition({"schedule.crontab": "says all five fields: none goes beside it"})
    try:
        parts = split_crontab(FIELDS["crontab"].read(data["crontab"]))
    except (CronFieldError, InvalidValue) as error:
        raise InvalidDefinition({"schedule.crontab": str(error)}) from None
    fields: dict[object, object] = dict(zip(CRON_FIELDS, parts, strict=True))
    return fields | others


def schedule_data(schedule: Schedule) -> dict[str, str | int | float]:
    """Return plain data from which `read_schedule` makes an equal schedule."""
    return {name: _plain(getattr(schedule, name)) for name in schedule_fields(type(schedule))}


@dataclass(frozen=True, slots=True)
class ScheduleField:
    """The values that a field of a schedule accepts, and its default (`MISSING` if it has none)."""

    kind: FieldKind
    default: object


def schedule_fields(schedule_class: type[Schedule]) -> dict[str, ScheduleField]:
    """Return the fields that plain data may have."""
    return {
        field.name: ScheduleField(FIELDS[field.name], field.default)
        for field in fields(schedule_class)
        if field.init
    }


SCHEDULES: Mapping[ScheduleKind, type[Schedule]] = {
    schedule_class.kind: schedule_class for schedule_class in (Interval, Crontab, Solar, Clocked)
}
"""The classes of schedules by kind."""


def _plain(value: str | float | datetime) -> str | int | float:
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case StrEnum():
            return value.value
        case _:
            return value


# For fields that are invalid or missing, so that the other fields can be checked.
_PLACEHOLDERS: Mapping[str, object] = {
    "every": 1,
    "period": Period.SECONDS,
    "event": SolarEvent.SUNSET,
    "latitude": 0.0,
    "longitude": 0.0,
    "at": datetime(2026, 1, 1, tzinfo=UTC),
}

FIELDS: Mapping[str, FieldKind] = {
    "kind": Choice(ScheduleKind),
    "every": Whole(lowest=1),
    "period": Choice(Period),
    "crontab": NumericText(),
    **dict.fromkeys(CRON_FIELDS, NumericText(longest=LONGEST_FIELD)),
    "timezone": Text(),
    "event": Choice(SolarEvent),
    "latitude": Number(lowest=-MAX_LATITUDE, highest=MAX_LATITUDE),
    "longitude": Number(lowest=-MAX_LONGITUDE, highest=MAX_LONGITUDE),
    "at": Instant(),
}
"""The kind of a schedule, and what the fields of all kinds may hold; `crontab` is five of them in one line."""
