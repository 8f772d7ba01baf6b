"""Definitions and runs as rows. A definition that breaks the rules was written past us: it is read as unreadable."""

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
    stored = {column: getattr(row, column) for column in DEFINITION}
    return task_of(row, stored)


def task_of(
    row: Row[Any], stored: dict[str, Any], definition: Definition | None = None
) -> PeriodicTask | UnreadableTask:
    """Return the task of a row whose definition is plain data, or has been read from it before."""
    life: dict[str, Any] = {column: getattr(row, column) for column in LIFE}
    try:
        return PeriodicTask(definition=definition or read_draft(stored).finished(), **life)
    except Invalid as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the tasks in other rows go on
        reason = f"cannot be read: {error!r}"
    name = stored.pop("name")
    plain = {
        column: value.isoformat() if column in _MOMENTS and value else value
        for column, value in stored.items()
    }
    return UnreadableTask(name=name, stored=plain, reason=reason, **life)


_MOMENTS = frozenset({"start_at", "end_at"})


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
