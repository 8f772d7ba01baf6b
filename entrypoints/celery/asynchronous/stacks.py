"""Celery's stacks of tasks and requests (`current_task`, `self.request`), made right inside coroutines.

Celery keeps them per thread, but all coroutines of a process share one thread. Here a coroutine, what it gathers and
what it gives to `asyncio.to_thread` go on with the stacks of the thread that waits for it; a context variable says so.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from celery import Task
from celery.app.task import Context
from celery.utils.threads import get_ident

from entrypoints.celery.internals import release, set_owner, task_stack

_execution: ContextVar["Execution | None"] = ContextVar("execution", default=None)


def owner() -> object:
    """Return whose stacks are meant: those of an execution, or else of the thread (or greenlet)."""
    execution = _execution.get()
    return get_ident() if execution is None else execution.owner


set_owner(task_stack, owner)


class Execution:
    """The task, the innermost of them, that is executed where this object is made, and its request."""

    __slots__ = ("owner", "request", "task")

    def __init__(self) -> None:
        self.owner: object = owner()
        self.task: Task[..., Any] | None = task_stack.top
        self.request: Context | None = self.task.request_stack.top if self.task else None

    @property
    def id(self) -> str:
        """The id of the message that is executed, or nothing."""
        return (self.request and self.request.id) or ""

    def __str__(self) -> str:
        """Return the name of the task and the id of its message."""
        if self.task is None:
            return "a coroutine"
        return f"{self.task.name}[{self.id}]" if self.id else self.task.name

    def go_on(self) -> None:
        """Continue this execution in the context of the caller, in any thread."""
        _execution.set(self)
        if self.task:
            self.task.app.set_current()

    def end(self) -> None:
        """From now on, what still goes on with this execution belongs to no task."""
        self.owner = object()


def goes_on(task: object) -> bool:
    """Tell whether the caller is a coroutine of `task` (or what it gathers), rather than of another that it calls."""
    execution = _execution.get()
    if execution is None or execution.task is None or execution.task is not task:
        return False
    return bool(execution.request is execution.task.request_stack.top)


@contextmanager
def direct_call(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[None]:
    """Make `task` the current one in the block, as Celery does when a task is called like a function.

    The block has copies of the stacks, so that what many such blocks push at once does not mix.
    """
    outer = [*task_stack.stack]
    requests = {each.request_stack: [*each.request_stack.stack] for each in outer}
    execution = Execution()
    execution.owner = object()
    token = _execution.set(execution)
    try:
        for each in outer:
            task_stack.push(each)
        for stack, copies in requests.items():
            for request in copies:
                stack.push(request)
        task_stack.push(task)
        request = Context({**vars(task.request), "args": args, "kwargs": kwargs})
        task.request_stack.push(request)
        execution.task, execution.request = task, request
        yield
    finally:
        for each in task_stack.stack:
            release(each.request_stack)
        release(task_stack)
        _execution.reset(token)
