"""The JSON of a definition.

This module describes the fields; the domain checks them. It checks all fields before it answers, so one answer lists
every problem.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel, to_snake

from application.use_cases.scheduling.task_runs import MOST_PREVIEWED
from domain.scheduling.codec import KINDS
from domain.scheduling.crontab import LONGEST_FIELD
from domain.scheduling.drafts import definition_data
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.misfire import Misfire
from domain.scheduling.periodic_tasks import (
    LONGEST_DESCRIPTION,
    LONGEST_JITTER,
    LONGEST_NAME,
    LONGEST_TASK,
    PeriodicTask,
    UnreadableTask,
)
from domain.scheduling.schedules import MAX_LATITUDE, MAX_LONGITUDE, Period, SolarEvent
from entrypoints.http.envelope import ApiModel

_Schema: TypeAlias = dict[str, Any]


def described(schema: _Schema, description: str, example: object) -> Any:  # noqa: ANN401 - as `Field`
    """Describe a field that accepts any JSON; the domain checks the value."""
    return Field(
        default_factory=lambda: None,
        description=description,
        examples=[example],
        json_schema_extra=schema,
    )


def _or_null(schema: _Schema) -> _Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(description: str, required: list[str], **properties: _Schema) -> _Schema:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


_INSTANT: _Schema = {"type": "string", "format": "date-time"}
_CRON_FIELD: _Schema = {"type": ["string", "integer"], "maxLength": LONGEST_FIELD, "default": "*"}
_SCHEDULES = [
    _object(
        "`interval`: every 100 milliseconds to 100 years, counted from `startAt`, or from the creation of the task.",
        ["every", "period"],
        every={"type": "integer", "minimum": 1},
        period={"type": "string", "enum": list(Period)},
    ),
    _object(
        "`crontab`: the minutes that match all five fields, in the syntax of Celery and in local time of `timezone`. "
        "`crontab` gives all five fields in one line, or a macro such as `@daily`.",
        [],
        crontab={"type": "string", "examples": ["*/15 8-17 * * mon-fri"]},
        minute=_CRON_FIELD,
        hour=_CRON_FIELD,
        dayOfMonth=_CRON_FIELD | {"description": "`L` is the last day of the month."},
        monthOfYear=_CRON_FIELD,
        dayOfWeek=_CRON_FIELD,
        timezone={"type": "string", "default": "UTC"},
    ),
    _object(
        "`solar`: each time that the event of the sun happens at a place.",
        ["event", "latitude", "longitude"],
        event={"type": "string", "enum": list(SolarEvent)},
        latitude={"type": "number", "minimum": -MAX_LATITUDE, "maximum": MAX_LATITUDE},
        longitude={"type": "number", "minimum": -MAX_LONGITUDE, "maximum": MAX_LONGITUDE},
    ),
    _object("`clocked`: once, at the given time.", ["at"], at=_INSTANT),
]


class DefinitionFields(ApiModel):
    """The fields of a periodic task that users set."""

    name: Any = described(
        {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
        "Unique, on one line.",
        "Tidy up",
    )
    description: Any = described(
        {"type": "string", "maxLength": LONGEST_DESCRIPTION},
        "Free text.",
        "Removes old runs.",
    )
    task: Any = described(
        {"type": "string", "minLength": 1, "maxLength": LONGEST_TASK},
        "The name of a task that `GET /tasks` lists.",
        "portico.prune_runs",
    )
    kind: Any = described(
        {"type": "string", "enum": list(KINDS)},
        "The kind of schedule.",
        "crontab",
    )
    schedule: Any = described(
        {"anyOf": [{"type": "object", "oneOf": _SCHEDULES}, {"type": "string"}]},
        "When the task runs. A string is a crontab in one line (`*/15 8-17 * * mon-fri`, `@daily`), in UTC.",
        {"minute": "*/15", "timezone": "America/New_York"},
    )
    args: Any = described({"type": "array", "items": {}}, "Positional arguments.", [])
    kwargs: Any = described({"type": "object"}, "Keyword arguments.", {})
    options: Any = described(
        {"type": "object"},
        "Options of Celery's `apply_async`: `queue`, `priority`, `expires` (in seconds), `headers` and others.",
        {"queue": "portico", "expires": 600},
    )
    start_at: Any = described(
        _or_null(_INSTANT), "No slot is before this time.", "2026-01-01T00:00:00Z"
    )
    end_at: Any = described(
        _or_null(_INSTANT), "No slot is after this time.", "2036-01-01T00:00:00Z"
    )
    one_off: Any = described({"type": "boolean"}, "Whether the task runs only once.", False)  # noqa: FBT003 - an example
    max_runs: Any = described(
        _or_null({"type": "integer", "minimum": 1}),
        "The task ends after this number of runs.",
        10_000,
    )
    max_running: Any = described(
        _or_null({"type": "integer", "minimum": 1}),
        "How many runs may be active at once. Further slots are skipped; with `misfire: run_all` they wait until a run "
        "ends.",
        1,
    )
    jitter: Any = described(
        {"type": "number", "minimum": 0, "maximum": int(LONGEST_JITTER.total_seconds())},
        "A random delay after the slot: at most this number of seconds.",
        0.0,
    )
    misfire: Any = described(
        {"type": "string", "enum": list(Misfire)},
        "Which missed slots run afterwards: none, the last one, or all.",
        "run_once",
    )
    misfire_grace: Any = described(
        _or_null({"type": "number", "minimum": 0}),
        "How many seconds late a run may be; null means any.",
        3600.0,
    )
    enabled: Any = described({"type": "boolean"}, "False while the task is paused.", True)  # noqa: FBT003 - an example


class WrittenBody(DefinitionFields):
    """A complete definition. A field that is left out gets its default."""

    model_config = ConfigDict(
        extra="allow",  # the domain names it among all else that is wrong
        json_schema_extra={
            "required": ["name", "task", "kind", "schedule"],
            "additionalProperties": False,
        },
    )

    def written(self) -> dict[str, object]:
        """Return the fields that were sent, by their names in the domain."""
        fields = {
            name: getattr(self, name)
            for name in self.model_fields_set & type(self).model_fields.keys()
        }
        written = {**fields, **(self.model_extra or {})}
        for name in ("schedule", "options"):
            if name in written:
                if twice := _given_twice(written[name]):
                    raise InvalidDefinition(
                        {f"{name}.{field}": "is given twice, in both spellings" for field in twice}
                    )
                written[name] = _renamed(written[name], _in_snake_case)
        return written


class ChangeBody(WrittenBody):
    """The changes, as a JSON Merge Patch (RFC 7396).

    Fields that are left out do not change, nor do those inside `schedule`, `options` and `kwargs`. Null resets a
    field to its default. A schedule of another `kind` replaces the old schedule.
    """

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    catch_up: Any = described(
        {"type": "boolean"},
        "With `enabled: true`: whether the slots of the pause count as missed. Then `misfire` applies to them.",
        True,  # noqa: FBT003 - an example
    )


class PreviewBody(WrittenBody):
    """A definition in which only `kind` and `schedule` are required."""

    model_config = ConfigDict(
        json_schema_extra={"required": ["kind", "schedule"], "additionalProperties": False}
    )

    after: Any = described(
        _or_null(_INSTANT),
        "Return slots after this time. The default is now.",
        "2026-11-01T04:00:00Z",
    )
    count: Any = described(
        {"type": "integer", "minimum": 1, "maximum": MOST_PREVIEWED},
        "How many slots to return. The default is 10.",
        3,
    )


def presented(task: PeriodicTask | UnreadableTask) -> dict[str, Any]:
    """Return the values of `DefinitionFields`; of a task that cannot be read, as they are stored."""
    data: Mapping[str, Any]
    if isinstance(task, UnreadableTask):
        known = DefinitionFields.model_fields.keys()
        data = {name: value for name, value in task.stored.items() if name in known}
    else:
        data = definition_data(task.definition)
    return {
        **data,
        "name": data.get("name", task.name) if isinstance(task, PeriodicTask) else task.name,
        "schedule": _renamed(data.get("schedule"), to_camel),
        "options": _renamed(data.get("options"), to_camel),
        "enabled": task.enabled,
    }


def _renamed(value: object, rename: Callable[[str], str]) -> object:
    """Rename the fields of a schedule, or of options, where headers keep their names."""
    if not isinstance(value, dict):
        return value
    return {
        rename(name): _renamed(inner, rename) if rename(name) in _RETRY_POLICY else inner
        for name, inner in value.items()
    }


def _given_twice(value: object) -> set[str]:
    """Return the fields that `_renamed` would make one of two."""
    if not isinstance(value, dict):
        return set()
    names = [_in_snake_case(name) for name in value]
    inner = [_given_twice(value[name]) for name in _RETRY_POLICY & value.keys()]
    return {name for name in names if names.count(name) > 1}.union(*inner)


_RETRY_POLICY = frozenset({"retry_policy", "retryPolicy"})


def _in_snake_case(name: str) -> str:
    """Return the domain's name of a field; what cannot be one stays as it was written."""
    snake = to_snake(name)
    return snake if to_camel(snake) == name else name
