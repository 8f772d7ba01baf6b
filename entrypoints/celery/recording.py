"""Runs as a worker sees them: a message that a beat published for a periodic task is one, and is noted as one.

All other messages pass at the price of one look at their headers.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, ParamSpec, TypeVar
from uuid import UUID

from celery import states
from celery.app.task import Context
from celery.canvas import Signature
from celery.exceptions import (
    Ignore,
    Reject,
    TaskRevokedError,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)

from application.use_cases.scheduling.recording import RunRecorder
from domain.scheduling.runs import RunId
from domain.scheduling.slots import PeriodicTaskId
from entrypoints.celery.asynchronous.loop import process_loop
from entrypoints.celery.asynchronous.resources import Resource
from entrypoints.celery.asynchronous.stacks import Execution
from entrypoints.celery.asynchronous.tasks import AsyncRequest
from entrypoints.celery.headers import SLOT_HEADER, TASK_HEADER
from entrypoints.celery.process import container
from entrypoints.celery.typed import TypedTask

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

NOTE_END = "portico.note_end"
"""The task that notes the end of a run whose own process cannot."""

_log = logging.getLogger(__name__)

_LONGEST_ERROR = 2000
_LONGEST_RUN = timedelta(days=1)
"""When a run without a time limit no longer counts as going on."""


@Resource
@asynccontextmanager
async def recorder() -> AsyncIterator[RunRecorder]:
    """Open what notes the runs of this process."""
    opened = await container()
    async with RunRecorder(opened.run_log(), opened.clock()).running() as running:
        yield running


class MayNotBegin(Ignore):
    """The message is one too many, or comes too late."""


class RecordedTask(TypedTask[P, R_co]):
    """The base of all tasks. Whoever overrides one of its methods calls it."""

    abstract = True
    Request = f"{__name__}:RecordedRequest"

    def before_start(self, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise `Ignore` unless the run may begin: a beat that was killed can publish a message twice."""
        super().before_start(task_id, args, kwargs)
        run = _Run.of(self.request)
        if run and not process_loop.thread().run(
            run.begin(self.request, self.time_limit), Execution()
        ):
            raise MayNotBegin(f"{run.id} has begun before, or its message has expired")

    def signature_from_request(
        self,
        request: Context | None = None,
        *args: Any,  # noqa: ANN401  as Celery's
        **options: Any,  # noqa: ANN401  as Celery's
    ) -> Signature[R_co]:
        """Return the message of a retry. That of a run says when it must begin, and this one has."""
        if _Run.of(request or self.request):
            options.setdefault("expires", None)
        return super().signature_from_request(request, *args, **options)

    def after_return(  # noqa: PLR0917  as Celery's
        self,
        status: str,
        retval: Any,  # noqa: ANN401  as Celery's
        task_id: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        einfo: Any,  # noqa: ANN401  as Celery's
    ) -> None:
        super().after_return(status, retval, task_id, args, kwargs, einfo)
        if status in {states.SUCCESS, states.FAILURE} and (run := _Run.of(self.request)):
            run.finish(retval if status == states.FAILURE else None)


class RecordedRequest(AsyncRequest):
    """A message in the process that supervises a pool, where ends are noticed that no `after_return` tells of.

    That is: a process of the pool was lost, the message was revoked, or the task said that there is no result. A
    message tells one of the others to note it: here, a thread with connections would be copied by each later fork.
    """

    def maybe_expire(self) -> Literal[True] | None:
        """Let a message that comes back be: its run goes on if it had begun in time, which the store knows."""
        if self.delivery_info.get("redelivered") and _Run.of(self._context):  # type: ignore[attr-defined]  # as below
            return None
        return super().maybe_expire()

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001  as Celery's
        super().on_timeout(soft, timeout)
        if not soft:
            self._have_noted(TimeLimitExceeded(timeout))

    def on_failure(
        self,
        exc_info: Any,  # noqa: ANN401  as Celery's
        send_failed_event: bool = True,  # noqa: FBT001, FBT002  as Celery's
        return_ok: bool = False,  # noqa: FBT001, FBT002  as Celery's
    ) -> None:
        super().on_failure(exc_info, send_failed_event, return_ok)
        error = exc_info.exception
        error = getattr(error, "exc", error)
        is_given_up = isinstance(error, Reject) and not error.requeue  # type: ignore[attr-defined]  # celery-types lacks it
        if isinstance(error, WorkerLostError) and self._comes_back:
            return
        if is_given_up or isinstance(error, WorkerLostError | Terminated | SystemExit):
            self._have_noted(error)
        elif isinstance(error, Ignore) and not isinstance(error, MayNotBegin):
            self._have_noted(None)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:  # noqa: ANN401, FBT001  as Celery's
        super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]  # celery-types lacks it
        has_begun = self._context.retries  # type: ignore[attr-defined]  # as above
        if not terminated and (has_begun or not expired):
            self._have_noted(TaskRevokedError(reason))

    @property
    def _comes_back(self) -> bool:
        """Whether the message is delivered again when its process is lost; its end could be noted after that."""
        return bool(self.task.acks_late and self.task.reject_on_worker_lost)

    def _have_noted(self, error: BaseException | None) -> None:
        context: Context = self._context  # type: ignore[attr-defined]  # celery-types lacks it
        if run := _Run.of(context):
            try:
                self.task.app.send_task(
                    NOTE_END, (str(run.id), error and _told(error)), retry=False
                )
            except Exception:  # noqa: BLE001 - whatever it is; the run lapses when its time is up
                _log.exception("the end of run %s is not noted", run.id)


@dataclass(frozen=True, slots=True)
class _Run:
    """What the headers of a message say."""

    id: RunId
    task_id: PeriodicTaskId
    scheduled_for: datetime

    @classmethod
    def of(cls, request: Context) -> "_Run | None":
        headers: Mapping[str, Any] | None = request.headers
        if not headers or TASK_HEADER not in headers:
            return None
        try:
            return cls(
                RunId(UUID(str(request.id))),
                PeriodicTaskId(UUID(str(headers[TASK_HEADER]))),
                datetime.fromisoformat(headers[SLOT_HEADER]),
            )
        except (KeyError, TypeError, ValueError):  # somebody else's headers
            return None

    async def begin(self, request: Context, time_limit: float | None) -> bool:
        """Return whether it may begin."""
        delivery: Mapping[str, Any] = request.delivery_info or {}
        limit = (request.timelimit or (None,))[0] or time_limit
        return await (await recorder()).begin(
            self.id,
            self.task_id,
            self.scheduled_for,
            worker=request.hostname or "",
            longest=timedelta(seconds=limit) if limit else _LONGEST_RUN,
            again=bool(request.retries) or bool(delivery.get("redelivered")),
        )

    def finish(self, error: BaseException | None) -> None:
        """Let the process note the end, soon."""
        told = None if error is None else _told(error)
        asyncio.run_coroutine_threadsafe(_finish(self.id, told), process_loop.thread().loop)


def _told(error: BaseException) -> str:
    """Return an error as text that every store can hold."""
    text = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


async def _finish(run_id: RunId, error: str | None) -> None:
    (await recorder()).finish(run_id, error=error)
