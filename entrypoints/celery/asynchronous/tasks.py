"""The base class of tasks whose body may be a coroutine function.

Such a function becomes a plain one where the task is created, so that everything that Celery wraps around it (`bind`,
`autoretry_for`, `pydantic`, argument checks, the tracer) works as for any other task.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import cache, partial, wraps
from typing import Any, ParamSpec, TypeVar

from celery import Celery, Task, bootsteps
from celery.concurrency.base import BasePool
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.exceptions import ImproperlyConfigured

from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.asynchronous.stacks import (
    Execution,
    direct_call,
    goes_on,
    owner,
)
from entrypoints.celery.internals import RequestHooks, TaskHooks, set_owner

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

_awaited: ContextVar[bool] = ContextVar("awaited", default=False)
"""Whether who calls a task wants its coroutine."""


class WouldDeadlock(RuntimeError):
    """An async task was called, and not awaited, on the event loop that would have to run it."""


class NotAwaitable(TypeError):
    """A task is a generator function, or has returned a generator. Nothing iterates it, so its body never runs."""


def on_process_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a plain function that awaits on the loop of the process what `function` returns, if that can be awaited.

    Raise `NotAwaitable` for a generator function.
    """
    if getattr(function, "awaits", False):
        return function
    # Celery knows a function that is registered again by its identity.
    try:
        hash(function)
    except TypeError:
        return _wrapped.__wrapped__(function)
    return _wrapped(function)


@cache
def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    refuse_generator_function(function)
    code = _innermost(function)
    is_async = inspect.iscoroutinefunction(code)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        is_awaited = _awaited.get() or _is_called_by_itself(args)
        _awaited.set(False)
        value = function(*args, **kwargs)
        if inspect.isawaitable(value):
            return value if is_awaited else _await(value)
        _refuse_generator(value)
        return value

    # Celery writes a function of that name.
    name = getattr(function, "__name__", code.__name__)
    run.__name__ = name if name.isidentifier() else "anonymous"
    # Celery checks arguments against the outermost function, without following `__wrapped__`.
    with suppress(TypeError, ValueError):  # written in C, without one
        run.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    run.awaits = True  # type: ignore[attr-defined]
    run.is_async = is_async  # type: ignore[attr-defined]
    return run


def refuse_generator_function(function: Callable[..., Any]) -> None:
    """Raise `NotAwaitable` if the body of `function` is that of a generator."""
    if _is_generator_function(_innermost(function)):
        raise NotAwaitable(f"{function} is a generator function, whose body would never run")


def _refuse_generator(value: object) -> None:
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise NotAwaitable(f"{Execution()} returned a generator, whose body never ran")


def _is_called_by_itself(args: tuple[Any, ...]) -> bool:
    """Whether a coroutine of the task in `args` is what calls, as in `await super().run(…)`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return bool(args) and goes_on(args[0])


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function whose code is run when `function` is called: a partial and a callable object have one."""
    while isinstance(function, partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return type(function).__call__


def _is_generator_function(function: Callable[..., Any]) -> bool:
    if inspect.isasyncgenfunction(function):
        return True
    # `types.coroutine` makes something awaitable of one.
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    return inspect.isgeneratorfunction(function) and not flags & inspect.CO_ITERABLE_COROUTINE


def _await(value: Awaitable[Any]) -> Any:
    """Await a value on the loop of the process; raise `WouldDeadlock` there."""
    thread, execution = process_loop.thread(), Execution()
    if thread.is_current:
        if inspect.iscoroutine(value):
            value.close()
        raise WouldDeadlock(
            f"{execution} was called on the event loop it must run on; await its `acall`, or publish it"
        )
    coroutine = value if inspect.iscoroutine(value) else _value_of(value)
    result: Any = thread.run(coroutine, execution, soft_limit=_soft_limits.of(execution))
    if inspect.isawaitable(result):
        return _await(result)
    _refuse_generator(result)
    return result


async def _value_of(value: Any) -> Any:
    """Await a value until it is no awaitable: a coroutine may return another one."""
    while inspect.isawaitable(value):
        value = await value
    _refuse_generator(value)
    return value


def is_async(task: Task[..., Any]) -> bool:
    """Tell whether the body of `task` is known to be a coroutine function."""
    return getattr(task.run, "is_async", False)


class AsyncTask(TaskHooks[P, R_co]):
    """A task whose `run` may be `async def`; a plain one is left as it is."""

    Request = f"{__name__}:AsyncRequest"

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        run = vars(cls).get("run")
        if isinstance(run, staticmethod):
            cls.run = staticmethod(on_process_loop(run.__func__))  # type: ignore[method-assign]  # as below
        elif inspect.isfunction(run):
            cls.run = on_process_loop(run)  # type: ignore[method-assign]  # what a decorator would do

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        super().on_bound(app)
        set_owner(cls.request_stack, owner)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the task like a function, without a message, on the caller's event loop.

        As in any direct call `self.retry()` raises what it was called for. A plain function runs in a thread; what it
        returns is awaited here, if it can be. Models that a task with `pydantic=True` returns stay models.
        """
        with direct_call(self, args, kwargs):
            token = _awaited.set(True)
            try:
                value: Any = (
                    self.run(*args, **kwargs)
                    if is_async(self)
                    else await asyncio.to_thread(self.run, *args, **kwargs)
                )
            finally:
                _awaited.reset(token)
            if inspect.isawaitable(value):
                value = await _value_of(await value)
            result: R_co = value
            return result


class _SoftLimits:
    """The soft time limits in pools for which Celery has none: all except prefork."""

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
    """The step of a worker that runs async tasks. Raises `ImproperlyConfigured` for pools of greenlets."""

    def __init__(self, worker: Any, **options: object) -> None:
        super().__init__(worker, **options)
        if worker.pool_cls.is_green:
            raise ImproperlyConfigured(
                "Async tasks need threads, which gevent and eventlet replace; use -P prefork, threads or solo"
            )
        _soft_limits.are_ours = not issubclass(worker.pool_cls, PreforkPool)
        _soft_limits.default = worker.soft_time_limit


class AsyncRequest(RequestHooks):
    """A message that a worker has received. To terminate one that a thread runs is to interrupt its coroutine."""

    def terminate(self, pool: BasePool, signal: int | None = None) -> None:
        # A process that supervises others has no loop, and must not get one.
        if isinstance(pool, ThreadPool) and (
            is_async(self.task) or process_loop.thread().runs(self.id)
        ):
            pool = _Interrupting(self.id)
        super().terminate(pool, signal)


class _Interrupting(BasePool):
    """Stands in for the thread pool, which cannot terminate anything."""

    def __init__(self, execution_id: str) -> None:
        super().__init__()
        self._execution_id = execution_id

    def terminate_job(self, pid: int, signal: int | None = None) -> None:  # noqa: ARG002  threads have neither
        process_loop.thread().interrupt(self._execution_id)
