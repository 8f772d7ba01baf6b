"""Schedules as plain data: what the API takes, the database holds and a configuration says."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from domain.scheduling.crontab import CRON_FIELDS, CronFieldError, split_crontab
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.json_values import is_number, is_object
from domain.scheduling.schedules import (
    Clocked,
    Crontab,
    Interval,
    Period,
    Schedule,
    Solar,
    SolarEvent,
)


def read_schedule(kind: object, data: object) -> Schedule:
    """Return the schedule that plain data describes; raise `InvalidDefinition` that names every field that is wrong.

    `data` maps the names of the fields of the class (snake_case) to text and numbers; `at` may be a datetime. A
    crontab may be one text, or have one as `crontab` (see `expanded_crontab`).
    """
    schedule_class = _CLASSES.get(kind) if isinstance(kind, str) else None
    if schedule_class is None:
        raise InvalidDefinition({"kind": f"must be one of {', '.join(_CLASSES)}"})
    data = _fields(kind, data)
    known = {field.name: field for field in _plain_fields(schedule_class)}
    problems = {
        f"schedule.{str(name)[:50]}": f"is not a field of {kind} schedules"
        for name in data
        if name not in known
    }
    values: dict[str, object] = {}
    for name, field in known.items():
        try:
            if name in data:
                values[name] = _READERS.get(name, _text)(data[name])
            elif field.default is MISSING:
                problems[f"schedule.{name}"] = "is missing"
        except InvalidValue as error:
            problems[f"schedule.{name}"] = str(error)
    placeholders = {name: value for name, value in _PLACEHOLDERS.items() if name in known}
    try:
        schedule = schedule_class(**{**placeholders, **values})
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
        parts = split_crontab(_text(data["crontab"]))
    except (CronFieldError, InvalidValue) as error:
        raise InvalidDefinition({"schedule.crontab": str(error)}) from None
    fields: dict[object, object] = dict(zip(CRON_FIELDS, parts, strict=True))
    return fields | others


def schedule_data(schedule: Schedule) -> dict[str, str | int | float]:
    """Return plain data from which `read_schedule` makes an equal schedule."""
    return {field.name: _plain(getattr(schedule, field.name)) for field in _plain_fields(schedule)}


_CLASSES: Mapping[str, Callable[..., Schedule]] = {
    schedule_class.kind: schedule_class for schedule_class in (Interval, Crontab, Solar, Clocked)
}
KINDS = tuple(_CLASSES)
"""The kinds of schedules."""


def _plain_fields(schedule: Any) -> list[Field[Any]]:  # noqa: ANN401 - a class or an instance of one
    return [field for field in fields(schedule) if field.init]


def _plain(value: str | float | datetime) -> str | int | float:
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case StrEnum():
            return value.value
        case _:
            return value


class InvalidValue(ValueError):
    """The value is invalid; the message continues after the name of the field: "must be text"."""


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # minute: 5
    if not isinstance(value, str):
        raise InvalidValue("must be text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValue("must be a whole number")
    return value


def _number(value: object) -> float:
    if not is_number(value):
        raise InvalidValue("must be a number")
    return value


def _one_of(choices: type[StrEnum]) -> Callable[[object], StrEnum]:
    def read(value: object) -> StrEnum:
        if not isinstance(value, str) or value not in list(choices):
            raise InvalidValue(f"must be one of {', '.join(choices)}")
        return choices(value)

    return read


def read_moment(value: object) -> datetime:
    """Return the datetime that `value` is, or that it says; raise `InvalidValue`."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, datetime):
        raise InvalidValue("must be a date and a time (2026-11-01T05:00:00Z)")
    return moment


# For fields that are invalid or missing, so that the other fields can be checked.
_PLACEHOLDERS: Mapping[str, object] = {
    "every": 1,
    "period": Period.SECONDS,
    "event": SolarEvent.SUNSET,
    "latitude": 0.0,
    "longitude": 0.0,
    "at": datetime(2026, 1, 1, tzinfo=UTC),
}

_READERS: Mapping[str, Callable[[object], object]] = {
    "every": _whole,
    "period": _one_of(Period),
    "event": _one_of(SolarEvent),
    "latitude": _number,
    "longitude": _number,
    "at": read_moment,
}
