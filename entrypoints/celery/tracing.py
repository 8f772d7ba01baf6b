"""The trace of a task: that of the code that published it or requested the run. Without PORTICO_TRACES_URL: none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from celery.signals import (
    before_task_publish,
    celeryd_after_setup,
    worker_process_shutdown,
    worker_shutdown,
)

import bootstrap
from entrypoints.celery.headers import TRACE_HEADER
from entrypoints.celery.process import measured, process_settings
from entrypoints.tracing import Traces


@before_task_publish.connect
def _tell_trace(headers: dict[str, Any], **_: object) -> None:
    headers.update(bootstrap.trace_headers())


@celeryd_after_setup.connect
def _trace_tasks(**_: object) -> None:
    measured.has_traces = process_settings().traces.url is not None


@worker_process_shutdown.connect
@worker_shutdown.connect
def _send_the_rest(**_: object) -> None:
    if measured.traces is not None:
        measured.traces.close()
        measured.traces = None


def _traces() -> Traces | None:
    """Return the traces of this process, begun with its first task: a thread that sends them is not forked."""
    if measured.traces is None and measured.has_traces:
        measured.traces = bootstrap.traces(process_settings(), "worker")
    return measured.traces


@contextmanager
def task_context(name: str, task_id: str, request: Mapping[str, Any]) -> Iterator[None]:
    """Be in the trace of a message while the block runs; its log lines name the task."""
    with structlog.contextvars.bound_contextvars(task=name, task_id=task_id):
        traces = _traces()
        if traces is None:
            yield
            return
        parent = request.get(TRACE_HEADER)
        carrier = {TRACE_HEADER: parent} if isinstance(parent, str) else None
        with traces.span(name, "consumer", carrier):
            yield
