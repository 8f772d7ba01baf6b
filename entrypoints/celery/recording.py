"""Workers record runs: the messages that a beat published for periodic tasks.

Of all other messages the headers are checked, and nothing else happens. The process that runs a task records the end of
its run. It does so around Celery's tracer: a class of tasks, an exception, or a result store that is away cannot
prevent it. If that process is lost, or never had the message, the process that supervises it publishes a message that
says how the run ended.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, ParamSpec, TypeVar
from uuid import UUID

from billiard.exceptions import Terminated
from billiard.process import current_process
from celery import Celery, states
from celery.app.task import Context
from celery.canvas import Signature
from celery.exceptions import (
    Ignore,
    NotRegistered,
    Reject,
    Retry,
    TaskRevokedError,
    TimeLimitExceeded,
    WorkerShutdown,
    WorkerTerminate,
)
from celery.worker.consumer import Consumer
from kombu import Message

from application.use_cases.scheduling.recording import RunRecorder
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import RunId
from domain.text import storable_text
from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.asynchronous.resources import Resource
from entrypoints.celery.asynchronous.stacks import Execution
from entrypoints.celery.asynchronous.tasks import AsyncRequest
from entrypoints.celery.headers import SLOT_HEADER, TASK_HEADER
from entrypoints.celery.internals import Traced, Tracer, is_terminating, trace_failure, traced
from entrypoints.celery.metrics import count_task, observe_wait
from entrypoints.celery.process import container
from entrypoints.celery.tracing import task_context
from entrypoints.celery.typed import TypedTask

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

RECORD_END = "portico.record_end"
"""The task that records the end of a run whose own process cannot."""

_log = logging.getLogger(__name__)

_LONGEST_ERROR = 2000
_LONGEST_RUN = timedelta(days=1)
"""After this time a run without a time limit is no longer active."""


@Resource
@asynccontextmanager
async def recorder() -> AsyncIterator[RunRecorder]:
    """Open the recorder of this process."""
    opened = await container()
    async with RunRecorder(opened.run_log(), opened.clock()).running() as running:
        yield running


class MayNotBegin(Ignore):
    """The run has begun before, or its message comes too late."""


class RecordedTask(TypedTask[P, R_co]):
    """The base of all tasks."""

    abstract = True
    Request = f"{__name__}:RecordedRequest"

    def around(self, tracer: Tracer) -> Tracer:
        return _RecordingTracer(self, tracer)

    def signature_from_request(
        self,
        request: Context | None = None,
        *args: Any,
        **options: Any,
    ) -> Signature[R_co]:
        """Return the message of a retry. That of a run says when it must begin, and this one has."""
        request = request or self.request
        if run := _Run.of(vars(request)):
            options.setdefault("expires", None)
            options["headers"] = {**(request.headers or {}), **run.headers}
        return super().signature_from_request(request, *args, **options)


@dataclass(frozen=True, slots=True)
class _RecordingTracer:
    """Celery's tracer, and around it the records of runs."""

    task: RecordedTask[..., Any]
    tracer: Tracer

    def __call__(
        self,
        uuid: str,
        args: list[Any],
        kwargs: dict[str, Any],
        request: dict[str, Any] | None = None,
    ) -> Traced:
        started = time.perf_counter()
        with task_context(self.task.name, uuid, request or {}):
            outcome = self._recorded(uuid, args, kwargs, request)
        state = outcome.info.state if outcome.info else states.SUCCESS
        count_task(self.task.name, state, time.perf_counter() - started)
        return outcome

    def _recorded(
        self,
        uuid: str,
        args: list[Any],
        kwargs: dict[str, Any],
        request: dict[str, Any] | None,
    ) -> Traced:
        run = _Run.of(request or {})
        if run is None:
            return self._trace(uuid, args, kwargs, request)
        if not_begun := self._begin(run, request or {}):
            return not_begun
        try:
            outcome = self._trace(uuid, args, kwargs, request)
        except BaseException as error:
            # After a signal, the process that sent it publishes the end.
            if not is_terminating():
                run.finish(error)
            raise
        run.finish_as(outcome)
        return outcome

    def _begin(self, run: "_Run", request: dict[str, Any]) -> Traced | None:
        """Record that the run begins; return the outcome of the message if it may not."""
        try:
            if run.begin(request, self.task.time_limit):
                observe_wait(run.scheduled_for)
                return None
        except Exception as error:  # noqa: BLE001 - with any error, this message has failed
            failed = self._failed(error, request)
            run.finish_as(failed)
            return failed
        # A beat that was killed can publish a message twice.
        refusal = MayNotBegin(f"{run.id} has begun before, has expired, or its task is deleted")
        _log.info("Task %s[%s] is ignored: %s", self.task.name, run.id, refusal)
        return traced(states.IGNORED, refusal)

    def _trace(
        self,
        uuid: str,
        args: list[Any],
        kwargs: dict[str, Any],
        request: dict[str, Any] | None,
    ) -> Traced:
        """Return the outcome of a message, also where Celery's tracer lets an exception through.

        Its pools lose some of these, and with them the acknowledgement. Raise only what must end the process.
        """
        try:
            return self.tracer(uuid, args, kwargs, request)
        except Reject as rejection:
            return traced(states.REJECTED, rejection)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - not the task's: the outcome could not be stored
            _log.exception("the outcome of task %s[%s] is not stored", self.task.name, uuid)
            return traced(states.FAILURE, error)
        except BaseException as error:
            if _ends_the_process(error):
                raise
            return self._failed(error, request or {})

    def _failed(self, error: BaseException, request: dict[str, Any]) -> Traced:
        if isinstance(error, SystemExit | KeyboardInterrupt):
            # Celery would raise these once more, where the message is acknowledged.
            error = RuntimeError(_text_of(error))
        try:
            return trace_failure(self.task, request, error)
        except Exception:  # noqa: BLE001 - a store that is away, or a hook of the task
            _log.exception("the failure of task %s is not stored", self.task.name)
            return traced(states.FAILURE, error)


def _ends_the_process(error: BaseException) -> bool:
    """Return whether an exception that is no `Exception` must end the process.

    A process of a prefork pool is replaced. In other pools a task must not end the whole worker.
    """
    if isinstance(error, WorkerShutdown | WorkerTerminate):
        return True
    is_an_exit = isinstance(error, SystemExit | KeyboardInterrupt)
    return is_an_exit and current_process().name != "MainProcess"


class RecordedRequest(AsyncRequest):
    """A message in the process that supervises a pool. It tells the ends that no process of the pool can tell.

    It counts them, and publishes that the run has ended. That is: such a process was lost, or the message was revoked
    before one had it.
    """

    _comes_back = False
    """Whether the message is delivered again, so that its run has not ended."""
    _is_counted = False

    def maybe_expire(self) -> Literal[True] | None:
        """Do not expire a message that comes back: the store knows whether its run began in time."""
        if self.delivery_info.get("redelivered") and _Run.of(self.request_dict):
            return None
        return super().maybe_expire()

    def reject(self, requeue: bool = False) -> None:
        self._comes_back = self._comes_back or requeue
        super().reject(requeue)

    def on_retried_after_loss(self) -> None:
        self._comes_back = True

    def on_timeout(self, soft: bool, timeout: float) -> None:
        try:
            super().on_timeout(soft, timeout)
        finally:
            if not soft:
                self._lose(TimeLimitExceeded(timeout))

    def on_failure(
        self,
        exc_info: Any,
        send_failed_event: bool = True,
        return_ok: bool = False,
    ) -> None:
        error = exc_info.exception
        error = getattr(error, "exc", error)
        if isinstance(error, MemoryError):
            # Another process had too little memory; Celery would end this one.
            exc_info.exception = RuntimeError(_text_of(error))
        try:
            super().on_failure(exc_info, send_failed_event, return_ok)
        finally:
            # A tracer has recorded what it returned.
            if not return_ok and not self.is_cancelled:
                self._lose(error)

    def on_revoked(self, reason: str, *, terminated: bool, expired: bool) -> None:
        has_begun = self.request_dict.get("retries")
        if not terminated and (has_begun or not expired):
            self._publish_end(TaskRevokedError(reason))

    def _lose(self, error: BaseException) -> None:
        """Tell the end of a task whose process was killed. After a time limit, the pool says so twice."""
        if not self._is_counted:
            self._is_counted = True
            ended = states.REVOKED if isinstance(error, Terminated) else states.FAILURE
            began: float | None = self.time_start
            seconds = None if began is None else max(0.0, time.time() - began)
            count_task(self.task.name, states.RETRY if self._comes_back else ended, seconds)
        self._publish_end(error)

    def _publish_end(self, error: BaseException) -> None:
        if not self._comes_back:
            _publish_end(self.task.app, self.request_dict, error)


class RecordingConsumer(Consumer):
    """Publishes the end of runs whose messages this worker rejects: no other worker gets them."""

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Go on without the connection; Celery closes it here, and this must not end the worker.

        Celery 5.7 closes it twice. A channel that is still open the second time gives its messages back, for which it
        needs an address that it has no more. They come back after the visibility time-out.
        """
        connection: Any = self.connection
        if connection is not None:
            connection.close = _without_attribute_errors(connection.close)
        super().on_connection_error_after_connected(exc)

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:
        try:
            super().on_unknown_task(body, message, exc)
        finally:
            _publish_end(self.app, message.headers, NotRegistered(message.headers.get("task")))

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:
        try:
            super().on_invalid_task(body, message, exc)
        finally:
            _publish_end(self.app, message.headers, exc)


def _without_attribute_errors(function: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        with suppress(AttributeError):
            function()

    return call


def _publish_end(app: Celery, headers: Mapping[str, Any] | None, error: BaseException) -> None:
    """Publish a message: a process of a pool records that the run ended with this error.

    The supervising process does not record it itself: each later fork would copy a thread with connections.
    """
    if run := _Run.of(headers or {}):
        try:
            app.send_task(RECORD_END, (str(run.id), _text_of(error)), retry=False)
        except Exception:  # noqa: BLE001 - the run has failed at its deadline
            _log.exception("the end of run %s is not recorded", run.id)


@dataclass(frozen=True, slots=True)
class _Run:
    """The run that the headers of a message name."""

    id: RunId
    task_id: PeriodicTaskId
    scheduled_for: datetime

    @classmethod
    def of(cls, headers: Mapping[str, Any]) -> "_Run | None":
        if TASK_HEADER not in headers:
            return None
        try:
            return cls(
                RunId(UUID(str(headers["id"]))),
                PeriodicTaskId(UUID(str(headers[TASK_HEADER]))),
                datetime.fromisoformat(headers[SLOT_HEADER]),
            )
        except (KeyError, TypeError, ValueError):  # headers of another program
            return None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a message of this run."""
        return {TASK_HEADER: str(self.task_id), SLOT_HEADER: self.scheduled_for.isoformat()}

    def begin(self, request: Mapping[str, Any], time_limit: float | None) -> bool:
        """Record that the run begins; return whether it may."""
        return process_loop.thread().run(self._begin(request, time_limit), Execution())

    async def _begin(self, request: Mapping[str, Any], time_limit: float | None) -> bool:
        delivery: Mapping[str, Any] = request.get("delivery_info") or {}
        limit = (request.get("timelimit") or (None,))[0] or time_limit
        return await (await recorder()).begin(
            self.id,
            self.task_id,
            self.scheduled_for,
            worker=request.get("hostname") or "",
            longest=timedelta(seconds=limit) if limit else _LONGEST_RUN,
            again=bool(request.get("retries")) or bool(delivery.get("redelivered")),
        )

    def finish_as(self, outcome: Traced) -> None:
        """Queue the record of the end, unless there will be another attempt."""
        if outcome.info is None:
            self.finish(None)
            return
        error = outcome.info.retval
        is_rejected = isinstance(error, Reject) and error.requeue  # type: ignore[attr-defined]  # celery-types lacks it
        comes_back = is_rejected or isinstance(error, Retry)
        if comes_back:
            return
        if outcome.info.state == states.IGNORED:
            self.finish(None)
        elif outcome.info.state == states.FAILURE and getattr(outcome.retval, "internal", False):
            # Celery does not say which of the two it was.
            self.finish(error, "what it returned or raised could not be stored: ")
        else:
            self.finish(error)

    def finish(self, error: BaseException | None, why: str = "") -> None:
        """Queue the record of the end; it is written before the process ends."""
        text = None if error is None else (why + _text_of(error))[:_LONGEST_ERROR]
        process_loop.thread().start(_finish(self.id, text))


def _text_of(error: BaseException) -> str:
    """Return an error as text that every store can hold."""
    name = type(error).__name__
    try:
        text = f"{name}: {error}"
    except Exception as another:  # noqa: BLE001 - code of the task's author
        text = f"{name}, whose text cannot be had ({type(another).__name__})"
    return storable_text(text[:_LONGEST_ERROR])


async def _finish(run_id: RunId, error: str | None) -> None:
    (await recorder()).finish(run_id, error=error)
