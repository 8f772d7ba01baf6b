"""Definitions and runs as rows. A definition that breaks the rules was written past us: it is read as unreadable."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row

from domain.scheduling.drafts import definition_data, read_draft
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.json_values import problem_with_json
from domain.scheduling.options import OptionsCheck, unchecked
from domain.scheduling.periodic_tasks import Definition, PeriodicTask, UnreadableTask
from domain.scheduling.schedules import BEGINNING, END
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState
from domain.text import storable_text

_LIFE = ("id", "enabled", "enabled_at", "created_at", "updated_at", "reset_at")
_OWN = ("name", "description", "args", "kwargs")
_SHARED = (
    *("task", "kind", "schedule", "options", "start_at", "end_at"),
    *("one_off", "max_runs", "max_running", "jitter", "misfire", "misfire_grace"),
)
"""Values that many definitions share."""
_JSON = frozenset({"schedule", "args", "kwargs", "options"})
_MOMENTS = frozenset({"start_at", "end_at", *_LIFE[2:]})
LONGEST_PROBLEM = 2_000
_WORTH_REMEMBERING = 2_000
"""Characters of options; of longer ones, no two may be alike, and many would fill the memory."""


def _selected(column: str) -> str:
    """Return the SQL that reads a column, also one with invalid values that were written by hand."""
    if column in _JSON:
        return f"{column}::text"  # it may be JSON that Python cannot decode
    if column in _MOMENTS:  # the driver fails at years that Python does not have
        return (
            f"CASE WHEN {column} > '9999-12-31Z' THEN '9999-12-31Z'"
            f" WHEN {column} < '0001-01-01Z' THEN '0001-01-01Z' ELSE {column} END"
        )
    return column


COLUMNS: Mapping[str, str] = MappingProxyType(
    {column: _selected(column) for column in (*_LIFE, *_OWN, *_SHARED)}
)
"""The columns that `to_task` reads, in this order, and the SQL for each."""


def to_row(task: PeriodicTask) -> dict[str, Any]:
    """Return the columns that hold `task`."""
    data = definition_data(task.definition)
    return {
        **data,
        "args": list(data["args"]),
        **{column: getattr(task, column) for column in _LIFE},
    }


def to_task(
    row: Sequence[Any], check_options: OptionsCheck = unchecked
) -> PeriodicTask | UnreadableTask:
    """Return the task of a row of `COLUMNS`: fast if it shares with others what tasks can share."""
    (task_id, enabled, enabled_at, created_at, updated_at, reset_at) = row[: len(_LIFE)]
    (name, description, args, kwargs, *shared) = row[len(_LIFE) :]
    try:
        definition = Definition(
            name=name,
            description=description,
            args=json.loads(args),
            kwargs=json.loads(kwargs),
            **_shared(check_options, *shared),
        )
    except Exception:  # noqa: BLE001 - an error in one row does not stop the tasks of others
        return _unreadable(row, check_options)
    moments = (enabled_at, created_at, updated_at, reset_at)
    if not all(moment is None or BEGINNING <= moment <= END for moment in moments):
        return _unreadable(row, check_options)
    return PeriodicTask(
        id=task_id,
        enabled=enabled,
        enabled_at=enabled_at,
        created_at=created_at,
        updated_at=updated_at,
        reset_at=reset_at,
        definition=definition,
    )


def _shared(check_options: OptionsCheck, *shared: Any) -> Mapping[str, Any]:  # noqa: ANN401 - columns have many types
    options = shared[_SHARED.index("options")]
    read = _remembered if len(options) < _WORTH_REMEMBERING else _remembered.__wrapped__
    return read(check_options, *shared)


@lru_cache(maxsize=4096)
def _remembered(check_options: OptionsCheck, *shared: Any) -> Mapping[str, Any]:  # noqa: ANN401 - as above
    values = {
        column: json.loads(value) if column in _JSON else value
        for column, value in zip(_SHARED, shared, strict=True)
    }
    definition = read_draft({"name": "shared", **values}, check_options=check_options).build()
    return {field: getattr(definition, field) for field in _SHARED if field != "kind"}


def _unreadable(row: Sequence[Any], check_options: OptionsCheck) -> UnreadableTask:
    """Say all that is wrong, and what is stored, as JSON where JSON can say it."""
    stored = dict(zip(COLUMNS, row, strict=True))
    life: dict[str, Any] = {column: stored.pop(column) for column in _LIFE}
    problems = {
        column: "is out of range"
        for column in _LIFE
        if column in _MOMENTS and life[column] and not BEGINNING <= life[column] <= END
    }
    read = dict(stored)
    for column in filter(_JSON.__contains__, stored):
        try:
            read[column] = json.loads(stored[column])
        except (ValueError, RecursionError):
            problems[column] = "is JSON that is nested too deep, or has a number that is too long"
    try:
        draft = read_draft(read, check_options=check_options)
        reason = str(InvalidDefinition({**draft.problems, **problems}))
    except Exception as error:  # noqa: BLE001 - a bug of ours stops no other task either
        reason = f"cannot be read: {error!r}"
    shown = {column: _shown(read[column], stored[column]) for column in stored}
    return UnreadableTask(
        name=shown.pop("name"), stored=shown, reason=storable_text(reason[:LONGEST_PROBLEM]), **life
    )


def _shown(value: Any, stored: Any) -> Any:  # noqa: ANN401 - any value of JSON
    if isinstance(value, datetime):
        return value.isoformat()
    return value if problem_with_json(value) is None else str(stored)


def run_to_row(run: Run) -> dict[str, Any]:
    """Return the columns that hold `run`."""
    return {column: getattr(run, column) for column in RUN} | {"state": run.state.value}


def to_run(row: Row[Any]) -> Run:
    """Return the run that a row of `task_runs` holds."""
    return Run(
        id=RunId(row.id),
        task_id=PeriodicTaskId(row.task_id),
        scheduled_for=row.scheduled_for,
        state=RunState(row.state),
        requested=row.requested,
        published_at=row.published_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        deadline=row.deadline,
        error=row.error,
        worker=row.worker,
        traceparent=row.traceparent,
    )


RUN = (
    *("id", "task_id", "scheduled_for", "requested", "published_at", "started_at"),
    *("finished_at", "deadline", "error", "worker", "traceparent"),
)
"""The columns of a run but for its state."""
