"""A run is one execution of a periodic task, from the claim by a beat until a worker has finished it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.scheduling.errors import RunNotWaiting
from domain.scheduling.slots import PeriodicTaskId, message_id

RunId = NewType("RunId", UUID)


def run_id(task_id: PeriodicTaskId, slot: datetime) -> RunId:
    """Return the id of the run of `slot`, which is the id of its message too."""
    return RunId(message_id(task_id, slot))


class RunState(StrEnum):
    """How far a run has come."""

    REQUESTED = "requested"
    """A user requested it; no beat has claimed it yet."""
    CLAIMED = "claimed"
    """A beat will publish its message, or has just done so."""
    PUBLISHED = "published"
    """Its message waits for a worker."""
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It did not run: `max_running` other runs were active."""
    EXPIRED = "expired"
    """No worker began it in time."""
    CANCELLED = "cancelled"
    """A user cancelled it before a worker began it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a task, and its outcome."""

    id: RunId
    task_id: PeriodicTaskId
    scheduled_for: datetime
    """Its slot; for a requested run, the time of the request."""
    state: RunState
    requested: bool = False
    """Whether a user requested it, rather than the schedule."""
    published_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline: datetime | None = None
    """After it the run is no longer active: its message has expired, or its time limit is over."""
    error: str = ""
    worker: str = ""
    traceparent: str = ""
    """The trace in which a user requested it, as the header of that name has it (W3C Trace Context §3.2), if any."""

    @property
    def lateness(self) -> timedelta | None:
        """How long after its slot it was published, if it was."""
        return None if self.published_at is None else self.published_at - self.scheduled_for

    def state_at(self, now: datetime) -> RunState:
        """Return its state at `now`.

        Nothing records that a message has expired, or that a worker has died.
        """
        is_overdue = self.deadline is not None and self.deadline < now
        return _OVERDUE.get(self.state, self.state) if is_overdue else self.state

    def is_active_at(self, now: datetime) -> bool:
        """Return whether it counts towards `max_running`, and is kept in the history, however old it is."""
        return self.state in ACTIVE_STATES and (self.deadline is None or self.deadline >= now)

    def seen_at(self, now: datetime) -> "Run":
        """Return it with its state at `now`, and with an error if no worker recorded its end."""
        state = self.state_at(now)
        is_lost = state is RunState.FAILED and self.state is RunState.STARTED
        return replace(self, state=state, error=NO_END if is_lost else self.error)

    def cancelled(self, *, at: datetime) -> "Run":
        """Return it cancelled: the worker that gets its message drops it. Raise `RunNotWaiting`."""
        if self.state_at(at) not in _WAITING:
            raise RunNotWaiting(self.id, self.state_at(at))
        return replace(self, state=RunState.CANCELLED, finished_at=at)

    def may_begin(self, now: datetime, *, again: bool) -> bool:
        """Return whether a worker may begin it: once and in time, or (`again`) until an attempt has succeeded."""
        if self.started_at is None:
            return self.state_at(now) not in {RunState.EXPIRED, RunState.CANCELLED}
        return again and self.state is not RunState.SUCCEEDED


NO_END = "its time was up, and its end was not recorded: its worker died, or took too long"
"""The error shown for a run that is past its deadline."""

ACTIVE_STATES = (RunState.CLAIMED, RunState.PUBLISHED, RunState.STARTED)
"""A run in one of these states is active until its deadline has passed (`Run.is_active_at`)."""
_WAITING = frozenset({RunState.REQUESTED, RunState.CLAIMED, RunState.PUBLISHED})
_OVERDUE = {RunState.PUBLISHED: RunState.EXPIRED, RunState.STARTED: RunState.FAILED}
