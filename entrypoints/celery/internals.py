"""Every name of Celery, Kombu, amqp and billiard that they do not promise to keep; no other module uses one.

Each is behind a name of ours. `tests/unit/entrypoints/celery/test_internals.py` has a case for each of them, so that
an upgrade that moves one fails by its name.
"""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, ParamSpec, TypeAlias, TypeVar

from billiard.common import terminate_handler_fired  # type: ignore[attr-defined]
from billiard.einfo import ExceptionInfo
from celery import Celery, Task, states
from celery._state import _task_stack  # type: ignore[attr-defined]
from celery.app.task import Context
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import ImproperlyConfigured
from celery.local import maybe_evaluate
from celery.result import denied_join_result
from celery.schedules import crontab
from celery.utils.serialization import get_pickleable_exception
from celery.utils.threads import _LocalStack
from celery.worker.request import Request
from kombu.common import ignore_errors
from kombu.transport import TRANSPORT_ALIASES, pyamqp, redis

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

# --- stacks of tasks and requests ---------------------------------------------------------------

task_stack: _LocalStack[Any] = _task_stack
"""The tasks (`Task`) that are executed, the innermost last. Each has a stack of its requests."""


def set_owner(stack: _LocalStack[Any], owner: Callable[[], object]) -> None:
    """Let `owner` say whose entries of `stack` are meant, instead of the number of the thread.

    Raise `ImproperlyConfigured` if it is a stack of another kind.
    """
    if not isinstance(stack, _LocalStack):
        raise ImproperlyConfigured(
            "Async tasks need Celery's default stacks; remove USE_FAST_LOCALS from the environment"
        )
    stack.__ident_func__ = owner  # type: ignore[assignment, misc]


def release(stack: _LocalStack[Any]) -> None:
    """Forget the entries of the current owner."""
    stack.__release_local__()


# --- applications and tasks ---------------------------------------------------------------------


class CeleryHooks(Celery):
    """An application that insists on its configuration, and lets a subclass prepare what becomes a task."""

    _pending_defaults: deque[Callable[[], Any]]

    def _load_config(self) -> Any:
        """Read the configuration; a part of it that cannot be read is not there, and is read again later.

        Celery would forget that part, and go on with what it is by default: another broker, other queues.
        """
        parts = [maybe_evaluate(part()) for part in self._pending_defaults]
        self._pending_defaults = deque(partial(dict, part) for part in parts)
        return super()._load_config()  # type: ignore[misc]

    def _task_from_fun(self, fun: Callable[..., Any], *args: Any, **options: Any) -> Any:
        fun, options = self.prepare_task(fun, options)
        return super()._task_from_fun(fun, *args, **options)

    def prepare_task(
        self, function: Callable[..., Any], options: dict[str, Any]
    ) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Return what a decorated function and the options of the decorator are replaced by."""
        return function, options


Traced: TypeAlias = trace_ok_t
"""The outcome of a message: its value, and the `info` (`state` and `retval`) unless it succeeded."""
Tracer: TypeAlias = Callable[..., Traced]
"""Celery's tracer, which runs a message: it takes the id, the arguments, and the headers of the message."""


class TaskHooks(Task[P, R_co]):
    """A task with further options for its messages, and with something around its tracer."""

    publishing: Mapping[str, Any] = MappingProxyType({})
    """Options of all its messages, besides those that are attributes of a task."""
    _tracer: Tracer | None = None

    def _get_exec_options(self) -> dict[str, Any]:
        return {**super()._get_exec_options(), **self.publishing}  # type: ignore[misc]

    @property
    def __trace__(self) -> Tracer | None:
        return self._tracer

    @__trace__.setter
    def __trace__(self, tracer: Tracer | None) -> None:
        # Celery builds one when a process starts, and whenever it finds none.
        self._tracer = tracer and self.around(tracer)

    def around(self, tracer: Tracer) -> Tracer:
        """Return what is called instead of Celery's tracer."""
        return tracer


def written_function(task: Task[..., Any]) -> Callable[..., Any]:
    """Return the function as its author wrote it: what `autoretry_for` puts in its place has lost its signature."""
    return getattr(task, "_orig_run", task.run)


def traced(state: str, error: BaseException) -> Traced:
    """Return what a tracer returns of a message that ended like this."""
    sendable: Exception = get_pickleable_exception(error)  # type: ignore[arg-type]
    try:
        raise sendable.with_traceback(error.__traceback__)  # noqa: TRY301 - it must have a traceback
    except BaseException:  # noqa: BLE001 - what was just raised
        info = ExceptionInfo(internal=True)
    return trace_ok_t(info, TraceInfo(state, error), 0.0, None)


def trace_failure(task: Task[..., Any], headers: dict[str, Any], error: BaseException) -> Traced:
    """Do what a tracer does when a task fails: store it, call its hooks. Raise what these raise."""
    failure = TraceInfo(states.FAILURE, error)
    return trace_ok_t(failure.handle_error_state(task, Context(headers)), failure, 0.0, None)


# --- publishing ---------------------------------------------------------------------------------

without_results = denied_join_result
"""Within this context Celery does not subscribe to the results of messages."""
ignore_connection_errors = ignore_errors
"""Call a function of a connection, and ignore that the connection is lost."""


# --- requests: messages in the process that supervises a pool -----------------------------------

is_terminating = terminate_handler_fired
"""Tell whether a signal to end has reached this process of a pool."""


class RequestHooks(Request):
    """A request that says when its message was revoked, or is tried again because its process was lost."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the worker has cancelled it itself: its message comes back."""
        return bool(self._already_cancelled)  # type: ignore[attr-defined]

    def _retry_worker_lost(self, *args: Any) -> bool:
        is_retried = bool(super()._retry_worker_lost(*args))  # type: ignore[misc]
        if is_retried:
            self.on_retried_after_loss()
        return is_retried

    def on_retried_after_loss(self) -> None:
        """Act on the loss of its process, for which another message was published."""

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        try:
            super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]
        finally:
            self.on_revoked(reason, terminated=terminated, expired=expired)

    def on_revoked(self, reason: str, *, terminated: bool, expired: bool) -> None:
        """Act on its revocation: while it ran (`terminated`), or because it was not begun in time (`expired`)."""


# --- schedules ----------------------------------------------------------------------------------


def crontab_fields(given: crontab) -> dict[str, Any]:
    """Return the five fields as they were written: text, a number, or some numbers."""
    fields: Any = given
    return {
        "minute": fields._orig_minute,
        "hour": fields._orig_hour,
        "day_of_month": fields._orig_day_of_month,
        "month_of_year": fields._orig_month_of_year,
        "day_of_week": fields._orig_day_of_week,
    }


# --- brokers ------------------------------------------------------------------------------------


def use_transport(scheme: str, path: str) -> None:
    """Have Kombu take the transport at `path` (`module:Class`) for addresses of `scheme`."""
    TRANSPORT_ALIASES[scheme] = path


class ChannelHooks(pyamqp.Channel):
    """A channel that raises `lost` when the broker closes it of its own accord: not because of what it was asked."""

    lost: ClassVar[type[Exception]]

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        try:
            super()._on_close(reply_code, reply_text, class_id, method_id)  # type: ignore[misc]
        except self.connection.channel_errors as error:
            if (class_id, method_id) != (0, 0):
                raise
            raise self.lost(reply_text) from error


def close_inherited_socket(connection: pyamqp.Connection) -> None:
    """Close what a forked process has of a connection; to shut it down would take it away from the parent."""
    transport = connection._transport  # type: ignore[attr-defined]
    if transport is not None and transport.sock is not None:
        transport.sock.close()
        transport.sock = None


class RedisChannelHooks(redis.Channel):
    """A channel to Redis that makes its clients."""

    def new_client(self) -> Any:
        """Return another client for the connections of this channel."""
        return self._create_client()  # type: ignore[attr-defined]  # missing in the stubs
