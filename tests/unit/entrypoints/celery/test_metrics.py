"""What a worker counts of its tasks."""

import time

import pytest
from celery import states

from adapters.memory.metrics import MemoryMetrics
from application.metrics import TASK_LAST_SUCCESS, TASKS
from entrypoints.celery.metrics import count_task
from entrypoints.celery.process import measured


def test_the_last_success_of_a_task_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter tells that of no task that runs once a day: a new process begins at nothing."""
    metrics = MemoryMetrics()
    monkeypatch.setattr(measured, "metrics", metrics)

    count_task("portico.prune_runs", states.SUCCESS, 0.1)
    succeeded_at = metrics.values[TASK_LAST_SUCCESS, ("portico.prune_runs",)]
    count_task("portico.prune_runs", states.FAILURE, 0.1)

    assert succeeded_at == pytest.approx(time.time(), abs=60)
    assert metrics.values[TASK_LAST_SUCCESS, ("portico.prune_runs",)] == succeeded_at
    assert metrics.values[TASKS, ("portico.prune_runs", "failure")] == 1
