"""The JSON of a definition.

The domain says what its fields may hold (`domain.scheduling.fields`) and checks them all before it answers, so that
one answer lists every problem. This module adds descriptions and examples.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Any, TypeAlias

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel, to_snake

from application.use_cases.scheduling.changes import CHANGE_FIELDS
from application.use_cases.scheduling.task_runs import PREVIEW_FIELDS, PREVIEWED
from domain.scheduling import codec, drafts
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.fields import (
    Choice,
    FieldKind,
    Fields,
    Flag,
    Instant,
    JsonList,
    JsonObject,
    Number,
    NumericText,
    OrNull,
    Seconds,
    Text,
    Whole,
)
from domain.scheduling.periodic_tasks import PeriodicTask, UnreadableTask
from domain.scheduling.schedules import Clocked, Crontab, Interval, Schedule, Solar
from entrypoints.http.envelope import ApiModel

_Schema: TypeAlias = dict[str, Any]


def _schema(kind: FieldKind) -> _Schema:
    """Return the JSON schema of a kind of field."""
    schema = _SCHEMAS[type(kind)](kind)
    return {name: value for name, value in schema.items() if value is not None}


_SCHEMAS: Mapping[type, Callable[[Any], _Schema]] = {
    OrNull: lambda field: {"anyOf": [_schema(field.kind), {"type": "null"}]},
    Text: lambda field: {
        "type": "string",
        "minLength": field.shortest or None,
        "maxLength": field.longest,
    },
    NumericText: lambda field: {"type": ["string", "integer"], "maxLength": field.longest},
    Choice: lambda field: {"type": "string", "enum": [*field.words]},
    Instant: lambda _: {"type": "string", "format": "date-time"},
    Flag: lambda _: {"type": "boolean"},
    Whole: lambda field: {"type": "integer", "minimum": field.lowest, "maximum": field.highest},
    Number: lambda field: {"type": "number", "minimum": field.lowest, "maximum": field.highest},
    Seconds: lambda field: {
        "type": "number",
        "minimum": 0,
        "maximum": int(field.longest.total_seconds()),
    },
    JsonList: lambda _: {"type": "array", "items": {}},
    JsonObject: lambda _: {"type": "object"},
}


_KINDS: Fields = {**drafts.FIELDS, **codec.FIELDS, **CHANGE_FIELDS, **PREVIEW_FIELDS}


def _described(name: str, description: str, *, example: object) -> Any:  # noqa: ANN401 - as `Field`
    """Describe a field that accepts any JSON; the domain checks the value."""
    return Field(
        default_factory=lambda: None,
        description=description,
        examples=[example],
        json_schema_extra=_schema(_KINDS[name]) if name in _KINDS else _SCHEDULE,
    )


def _schedule(
    schedule_class: type[Schedule], description: str, **more: Mapping[str, object]
) -> _Schema:
    """Return the schema of a kind of schedule: that of its fields, and `more` of some."""
    fields = codec.schedule_fields(schedule_class)
    properties = {
        to_camel(name): _schema(field.kind)
        | ({} if field.default is MISSING else {"default": field.default})
        for name, field in fields.items()
    }
    return {
        "type": "object",
        "description": description,
        "properties": {
            name: {**properties.get(name, {}), **more.get(name, {})}
            for name in {**more, **properties}
        },
        "required": [to_camel(name) for name, field in fields.items() if field.default is MISSING],
        "additionalProperties": False,
    }


_SCHEDULES = [
    _schedule(
        Interval,
        "`interval`: every 100 milliseconds to 100 years, counted from `startAt`, or from the creation of the task.",
    ),
    _schedule(
        Crontab,
        "`crontab`: the minutes that match all five fields, in the syntax of Celery and in local time of `timezone`. "
        "`crontab` gives all five fields in one line, or a macro such as `@daily`.",
        crontab={"type": "string", "examples": ["*/15 8-17 * * mon-fri"]},
        dayOfMonth={"description": "`L` is the last day of the month."},
    ),
    _schedule(Solar, "`solar`: each time that the event of the sun happens at a place."),
    _schedule(Clocked, "`clocked`: once, at the given time."),
]


_SCHEDULE: _Schema = {"anyOf": [{"type": "object", "oneOf": _SCHEDULES}, {"type": "string"}]}


class DefinitionFields(ApiModel):
    """The fields of a periodic task that users set."""

    name: Any = _described("name", "Unique, on one line.", example="Tidy up")
    description: Any = _described("description", "Free text.", example="Removes old runs.")
    task: Any = _described(
        "task", "The name of a task that `GET /tasks` lists.", example="portico.prune_runs"
    )
    kind: Any = _described("kind", "The kind of schedule.", example="crontab")
    schedule: Any = _described(
        "schedule",
        "When the task runs. A string is a crontab in one line (`*/15 8-17 * * mon-fri`, `@daily`), in UTC.",
        example={"minute": "*/15", "timezone": "America/New_York"},
    )
    args: Any = _described("args", "Positional arguments.", example=[])
    kwargs: Any = _described("kwargs", "Keyword arguments.", example={})
    options: Any = _described(
        "options",
        "Options of Celery's `apply_async`: `queue`, `priority`, `expires` (in seconds), `headers` and others.",
        example={"queue": "portico", "expires": 600},
    )
    start_at: Any = _described(
        "start_at", "No slot is before this time.", example="2026-01-01T00:00:00Z"
    )
    end_at: Any = _described(
        "end_at", "No slot is after this time.", example="2036-01-01T00:00:00Z"
    )
    one_off: Any = _described("one_off", "Whether the task runs only once.", example=False)
    max_runs: Any = _described(
        "max_runs", "The task ends after this number of runs.", example=10_000
    )
    max_running: Any = _described(
        "max_running",
        "How many runs may be active at once. Further slots are skipped; with `misfire: run_all` they wait until a run "
        "ends.",
        example=1,
    )
    jitter: Any = _described(
        "jitter", "A random delay after the slot: at most this number of seconds.", example=0.0
    )
    misfire: Any = _described(
        "misfire",
        "Which missed slots run afterwards: none, the last one, or all.",
        example="run_once",
    )
    misfire_grace: Any = _described(
        "misfire_grace", "How many seconds late a run may be; null means any.", example=3600.0
    )
    enabled: Any = _described("enabled", "False while the task is paused.", example=True)


class WrittenBody(DefinitionFields):
    """A complete definition. A field that is left out gets its default."""

    model_config = ConfigDict(
        extra="allow",  # the domain names it among all else that is wrong
        json_schema_extra={
            "required": [*drafts.REQUIRED],
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

    catch_up: Any = _described(
        "catch_up",
        "With `enabled: true`: whether the slots of the pause count as missed. Then `misfire` applies to them.",
        example=True,
    )


class PreviewBody(WrittenBody):
    """A definition in which only `kind` and `schedule` are required."""

    model_config = ConfigDict(
        json_schema_extra={"required": ["kind", "schedule"], "additionalProperties": False}
    )

    after: Any = _described(
        "after", "Return slots after this time. The default is now.", example="2026-11-01T04:00:00Z"
    )
    count: Any = _described(
        "count", f"How many slots to return. The default is {PREVIEWED}.", example=3
    )


def presented(task: PeriodicTask | UnreadableTask) -> dict[str, Any]:
    """Return the values of `DefinitionFields`; of a task that cannot be read, as they are stored."""
    data: Mapping[str, Any]
    if isinstance(task, UnreadableTask):
        known = DefinitionFields.model_fields.keys()
        data = {name: value for name, value in task.stored.items() if name in known}
    else:
        data = drafts.definition_data(task.definition)
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
