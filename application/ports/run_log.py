"""Where workers record the beginning and the end of runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A worker begins a run, which the message identifies."""

    run_id: RunId
    task_id: PeriodicTaskId
    scheduled_for: datetime
    at: datetime
    worker: str
    deadline: datetime | None = None
    """When it counts as ended, even if its end was never recorded."""
    again: bool = False
    """Whether it may have begun before: a retry, or a message that came back because its worker died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A worker has ended a run."""

    run_id: RunId
    at: datetime
    error: str | None = None
    """The error that it raised, or None if it succeeded."""


class RunLog(Protocol):
    """Where workers record the outcome of runs. Everything raises `Unavailable`."""

    async def begin(self, begun: Begun) -> bool:
        """Record that a run begins; return False, and change nothing, if it may not (`Run.may_begin`).

        Nothing of a deleted task begins, not even another attempt.
        """
        ...

    async def finish(self, runs: Sequence[Finished]) -> None:
        """Record how runs have ended, in one statement.

        The same end may be recorded several times, in any order: a success stays, and so does the first failure
        unless another attempt has succeeded or begun.
        """
        ...
