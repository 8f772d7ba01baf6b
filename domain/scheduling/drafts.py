"""Definitions as users write them. Reading goes on after a problem, so that one answer lists every problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from domain.scheduling.codec import expanded_crontab, read_schedule, schedule_data
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.fields import (
    Choice,
    Fields,
    Flag,
    Instant,
    InvalidValue,
    JsonList,
    JsonObject,
    OrNull,
    Seconds,
    Text,
    Whole,
)
from domain.scheduling.json_values import is_object, problem_with_json
from domain.scheduling.misfire import Misfire
from domain.scheduling.options import OptionsCheck, read_options, unchecked
from domain.scheduling.periodic_tasks import (
    LONGEST_DESCRIPTION,
    LONGEST_GRACE,
    LONGEST_JITTER,
    LONGEST_NAME,
    LONGEST_TASK,
    MOST_RUNS,
    Definition,
)
from domain.scheduling.registered_tasks import RegisteredTask
from domain.scheduling.schedules import Crontab, Interval, Period


@dataclass(frozen=True, slots=True)
class Draft:
    """A parsed definition and its problems by field (`schedule.day_of_month`)."""

    definition: Definition
    """The parsed definition; invalid fields hold placeholders."""
    extra: Mapping[str, Any] = field(hash=False)
    """The valid fields that are not part of the definition."""
    problems: Mapping[str, str] = field(hash=False)

    def check_signature(self, registered: Sequence[RegisteredTask]) -> "Draft":
        """Return this draft with the problems of its task and arguments, given how workers know this task.

        The arguments must match one of these: workers with an old and with a new version may run side by side.
        """
        if "task" in self.problems:
            return self
        if not registered:
            return self.with_problems({"task": "is not a task that a worker offers"})
        if "args" in self.problems or "kwargs" in self.problems:
            return self
        definition = self.definition
        found = [task.problems_with(definition.args, definition.kwargs) for task in registered]
        return self if not all(found) else self.with_problems(found[0])

    def with_problems(self, problems: Mapping[str, str]) -> "Draft":
        """Return this draft with more problems; for a field that already has one, that one stays."""
        return replace(self, problems={**problems, **self.problems})

    def build(self) -> Definition:
        """Return the definition; raise `InvalidDefinition` with every problem."""
        if self.problems:
            raise InvalidDefinition(self.problems)
        return self.definition


def read_draft(
    data: Mapping[str, object],
    *,
    extra: Fields = MappingProxyType({}),
    check_options: OptionsCheck = unchecked,
) -> Draft:
    """Read plain data by the names of the fields of `Definition`, with `kind` and `schedule` as `read_schedule` wants.

    Times are text or datetimes with an offset, durations are numbers of seconds. `extra` reads further fields.
    `check_options` says what is wrong with the options beyond what `PublishingOptions` refuses.
    """
    options = JsonObject(partial(read_options, check=check_options))
    unknown = data.keys() - FIELDS.keys() - extra.keys() - {"kind", "schedule"}
    problems = {name[:50]: "is not a field of periodic tasks" for name in sorted(unknown)}
    problems |= {name: "is missing" for name in REQUIRED if name not in data}
    values, found = read_fields(data, {**FIELDS, "options": options})
    others, found_extra = read_fields(data, extra)
    problems |= {**found, **found_extra}
    try:
        values["schedule"] = read_schedule(data.get("kind"), data.get("schedule"))
    except InvalidDefinition as error:
        problems |= {**error.problems, **problems}
    definition, broken = _defined(values)
    return Draft(definition, others, {**broken, **problems})


def read_fields(
    data: Mapping[str, object], fields: Fields
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of the fields that are present, and their problems."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, kind in fields.items():
        if name not in data:
            continue
        try:
            values[name] = kind.read(data[name])
        except InvalidValue as error:
            problems[name] = str(error)
        except InvalidDefinition as error:
            problems |= error.problems
    return values, problems


def changed_data(data: Mapping[str, Any], change: Mapping[str, object]) -> dict[str, Any]:
    """Return `data` with `change` merged into it (RFC 7396): null resets a field, objects are merged.

    A schedule of another kind replaces the old one. Raise `InvalidDefinition`.
    """
    change, base = dict(change), dict(data)
    if "kind" in change and change["kind"] != base.get("kind"):
        base.pop("schedule", None)
    elif base.get("kind") == Crontab.kind:
        change = {
            name: expanded_crontab(value) if name == "schedule" else value
            for name, value in change.items()
        }
    return _merged(base, change)


def _merged(target: Mapping[Any, Any], patch: Mapping[Any, Any]) -> dict[Any, Any]:
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif is_object(value) and problem_with_json(value) is None:
            before = result.get(name)
            result[name] = _merged(before if is_object(before) else {}, value)
        else:
            result[name] = value
    return result


def definition_data(definition: Definition) -> dict[str, Any]:
    """Return plain data from which `read_draft` makes an equal definition."""
    return {
        "name": definition.name,
        "description": definition.description,
        "task": definition.task,
        "kind": definition.schedule.kind.value,
        "schedule": schedule_data(definition.schedule),
        "args": definition.args,
        "kwargs": definition.kwargs,
        "options": definition.options.given,
        "start_at": definition.start_at,
        "end_at": definition.end_at,
        "one_off": definition.one_off,
        "max_runs": definition.max_runs,
        "max_running": definition.max_running,
        "jitter": definition.jitter.total_seconds(),
        "misfire": definition.misfire.value,
        "misfire_grace": (
            None if definition.misfire_grace is None else definition.misfire_grace.total_seconds()
        ),
    }


# Placeholders for invalid fields, so that the other fields can be checked.
_PLACEHOLDERS: Mapping[str, Any] = {
    "name": "draft",
    "task": "draft",
    "schedule": Interval(1, Period.HOURS),
}


def _defined(values: Mapping[str, Any]) -> tuple[Definition, dict[str, str]]:
    """Return a definition of the valid values, and the problems of the others."""
    sound = {**_PLACEHOLDERS, **values}
    problems: dict[str, str] = {}
    while True:
        try:
            return Definition(**sound), problems
        except InvalidDefinition as error:
            problems |= error.problems
            for name in (problem.partition(".")[0] for problem in error.problems):
                sound.pop(name, None)
            sound = {**_PLACEHOLDERS, **sound}


REQUIRED = ("name", "task", "kind", "schedule")
FIELDS: Fields = {
    "name": Text(shortest=1, longest=LONGEST_NAME),
    "description": Text(longest=LONGEST_DESCRIPTION),
    "task": Text(shortest=1, longest=LONGEST_TASK),
    "args": JsonList(),
    "kwargs": JsonObject(),
    "options": JsonObject(),
    "start_at": OrNull(Instant()),
    "end_at": OrNull(Instant()),
    "one_off": Flag(),
    "max_runs": OrNull(Whole(lowest=1, highest=MOST_RUNS)),
    "max_running": OrNull(Whole(lowest=1, highest=MOST_RUNS)),
    "jitter": Seconds(longest=LONGEST_JITTER),
    "misfire": Choice(Misfire),
    "misfire_grace": OrNull(Seconds(longest=LONGEST_GRACE)),
}
"""The fields of a definition, but for its schedule."""
