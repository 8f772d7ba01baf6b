"""Definitions and runs as rows. A definition that breaks the rules was written past us: it is read as unreadable."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Row

from domain.errors import Invalid
from domain.scheduling.drafts import definition_data, read_draft
from domain.scheduling.runs import Run, RunId, RunState
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.tasks import Definition, PeriodicTask, UnreadableTask

DEFINITION = (
    *("name", "description", "task", "kind", "schedule", "args", "kwargs", "options"),
    *("start_at", "end_at", "one_off", "max_runs", "max_running"),
    *("jitter", "misfire", "misfire_grace"),
)
"""The columns that say what people decide."""
JSON = frozenset({"schedule", "args", "kwargs", "options"})
"""Those of them that are JSON."""
LIFE = ("id", "enabled", "enabled_at", "created_at", "updated_at")
"""The columns that every task has in order, because their types say so."""


def to_row(task: PeriodicTask) -> dict[str, Any]:
    """Return the columns that hold `task`."""
    data = definition_data(task.definition)
    return {
        **data,
        "args": list(data["args"]),
        **{column: getattr(task, column) for column in LIFE},
    }


def to_task(row: Row[Any]) -> PeriodicTask | UnreadableTask:
    """Return the task that a row of `periodic_tasks` holds."""
    stored = _stored(row)
    return _task(row, stored, lambda: read_draft(stored).finished())


def read_task(row: Row[Any]) -> PeriodicTask | UnreadableTask:
    """Return the task of a row in which JSON is text still: fast where tasks differ in their names alone."""
    name, *others = (getattr(row, column) for column in DEFINITION)
    size = sum(len(value) for value in others if isinstance(value, str))
    read = _definition if size < _WORTH_REMEMBERING else _definition.__wrapped__
    return _task(row, None, lambda: read(*others).named(name))


_WORTH_REMEMBERING = 2_000
"""Characters; of longer ones, no two may be alike, and many would fill the memory."""


@lru_cache(maxsize=4096)
def _definition(*others: Any) -> Definition:  # noqa: ANN401 - columns have many types
    return read_draft(_decoded(("a name", *others))).finished()


def _task(
    row: Row[Any], stored: Mapping[str, Any] | None, read: Callable[[], Definition]
) -> PeriodicTask | UnreadableTask:
    life: dict[str, Any] = {column: getattr(row, column) for column in LIFE}
    try:
        return PeriodicTask(definition=read(), **life)
    except Invalid as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the tasks in other rows go on
        reason = f"cannot be read: {error!r}"
    if stored is None:
        stored = _decoded(getattr(row, column) for column in DEFINITION)
    plain = {
        column: value.isoformat() if isinstance(value, datetime) else value
        for column, value in stored.items()
        if column != "name"
    }
    return UnreadableTask(name=row.name, stored=plain, reason=reason, **life)


def _stored(row: Row[Any]) -> dict[str, Any]:
    return {column: getattr(row, column) for column in DEFINITION}


def _decoded(values: Iterable[Any]) -> dict[str, Any]:
    return {
        column: json.loads(value) if column in JSON else value
        for column, value in zip(DEFINITION, values, strict=True)
    }


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
        lapses_at=row.lapses_at,
        error=row.error,
        worker=row.worker,
    )


RUN = (
    *("id", "task_id", "scheduled_for", "requested", "published_at", "started_at"),
    *("finished_at", "lapses_at", "error", "worker"),
)
"""The columns of a run but for its state."""
