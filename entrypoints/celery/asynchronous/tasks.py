"""The base class of tasks whose body may be a coroutine function.

Such a function becomes a plain one where the task is made, so that whatever Celery wraps around it (`bind`,
`autoretry_for`, `pydantic`, argument checks, the tracer) works as for any other task.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from celery import Celery, Task, bootsteps
from celery.concurrency.base import BasePool
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.exceptions import ImproperlyConfigured
from celery.worker.request import Request

from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.asynchronous.stacks import Execution, direct_call, follow_coroutines

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

_awaited: ContextVar[bool] = ContextVar("awaited", default=False)
"""Whether who calls a task wants its coroutine."""


class WouldDeadlock(RuntimeError):
    """An async task was called, and not awaited, on the event loop that would have to run it."""


@cache
def on_process_loop(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Return a plain function, always the same, that runs the coroutines of `function` on the loop of the process."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  whatever the function takes and returns
        if _awaited.get():
            return function(*args, **kwargs)
        thread, execution = process_loop.thread(), Execution()
        if thread.is_current:
            raise WouldDeadlock(
                f"{execution} was called on the event loop it must run on; await its `acall`, or publish it"
            )
        limit = _soft_limits.of(execution)
        return thread.run(function(*args, **kwargs), execution, soft_limit=limit)

    # Celery checks arguments against the outermost function, without following `__wrapped__`.
    run.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    run.runs_on_process_loop = True  # type: ignore[attr-defined]
    return run


def is_async(task: Task[..., Any]) -> bool:
    """Tell whether the body of `task` is a coroutine function."""
    return getattr(task.run, "runs_on_process_loop", False)


class AsyncTask(Task[P, R_co]):
    """A task whose `run` may be `async def`; a plain one is left as it is."""

    Request = f"{__name__}:AsyncRequest"

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if inspect.iscoroutinefunction(run := vars(cls).get("run")):
            cls.run = on_process_loop(run)  # type: ignore[method-assign]  # what a decorator would do

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        super().on_bound(app)
        follow_coroutines(cls.request_stack)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the task like a function, without a message, on the caller's event loop.

        As in any direct call `self.retry()` raises what it was called for. A plain function runs in a thread. Models
        that a task with `pydantic=True` returns stay models.
        """
        with direct_call(self, args, kwargs):
            if not is_async(self):
                return await asyncio.to_thread(self.run, *args, **kwargs)
            token = _awaited.set(True)
            try:
                coroutine: Any = self.run(*args, **kwargs)
            finally:
                _awaited.reset(token)
            value: R_co = await coroutine
            return value


class _SoftLimits:
    """The soft time limits that Celery leaves to nobody: only its prefork pool keeps them."""

    def __init__(self) -> None:
        self.are_ours = False
        self.default: float | None = None

    def of(self, execution: Execution) -> float | None:
        """Return the limit of a message in seconds, if it is we who must keep it."""
        task, request = execution.task, execution.request
        if (
            not self.are_ours
            or not task
            or not request
            or request.called_directly
            or request.is_eager
        ):
            return None
        _, limit = request.timelimit or (None, None)
        return limit or task.soft_time_limit or self.default


_soft_limits = _SoftLimits()


class AsyncWorker(bootsteps.Step):
    """What a worker must know to run async tasks. Raises `ImproperlyConfigured` for pools of greenlets."""

    def __init__(self, worker: Any, **options: object) -> None:  # noqa: ANN401  celery-types' lacks `pool_cls`
        super().__init__(worker, **options)
        if worker.pool_cls.is_green:
            raise ImproperlyConfigured(
                "Async tasks need threads, which gevent and eventlet replace; use -P prefork, threads or solo"
            )
        _soft_limits.are_ours = not issubclass(worker.pool_cls, PreforkPool)
        _soft_limits.default = worker.soft_time_limit


class AsyncRequest(Request):
    """A message that a worker has received. To terminate one that a thread runs is to interrupt its coroutine."""

    def terminate(self, pool: BasePool, signal: int | None = None) -> None:
        if isinstance(pool, ThreadPool) and is_async(self.task):
            pool = _Interrupting(self.id)
        super().terminate(pool, signal)


class _Interrupting(BasePool):
    """Stands in for the thread pool, which cannot terminate anything."""

    def __init__(self, execution_id: str) -> None:
        super().__init__()
        self._execution_id = execution_id

    def terminate_job(self, pid: int, signal: int | None = None) -> None:  # noqa: ARG002  threads have neither
        process_loop.thread().interrupt(self._execution_id)
