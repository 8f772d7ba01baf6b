"""Whether messages are published: reported to operators, in the log at once and then rarely."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from application.ports.leader_lease import PublishingProblem
from application.ports.system import Clock
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run

_log = logging.getLogger(__name__)

REMIND_AFTER = 300.0
"""Seconds after which the log repeats what goes on."""


@dataclass(slots=True, kw_only=True)
class PublishingHealth:
    """Learns the outcome of each attempt to publish a message.

    That the message of one task cannot be sent is the fault of that task, as long as those of others can. It is a
    problem of the beat if none was ever sent, or if those of several tasks fail and none is sent in between.
    """

    clock: Clock
    monotonic: Callable[[], float]
    _since: datetime | None = None
    _error: str = ""
    _has_worked: bool = False
    _is_broker_away: bool = False
    _failing: set[PeriodicTaskId] = field(default_factory=set[PeriodicTaskId])
    _logged_at: dict[PeriodicTaskId | None, float] = field(
        default_factory=dict[PeriodicTaskId | None, float]
    )
    """When each task that fails, or (None) the broker, was last in the log."""

    @property
    def problem(self) -> PublishingProblem | None:
        """Return since when no message gets out, and why; None if they do."""
        cannot = self._is_broker_away or len(self._failing) > (1 if self._has_worked else 0)
        if self._since is None or not cannot:
            return None
        return PublishingProblem(since=self._since, error=self._error)

    def succeeded(self) -> None:
        """Record that the broker took a message."""
        if self._is_broker_away:
            _log.info("the broker takes messages again")
            self._logged_at.pop(None, None)
        self._has_worked = True
        self._is_broker_away = False
        self._failing.clear()
        self._since = None

    def failed(self, run: Run, error: Exception) -> None:
        """Record that a message cannot be sent, now or ever."""
        self._failing.add(run.task_id)
        self._record(error)
        if self._is_to_be_logged(run.task_id):
            _log.error("run %s cannot be published", run.id, exc_info=error)

    def broker_is_away(self, error: Exception, *, waiting: int) -> None:
        """Record that the broker took no message, and that `waiting` of them wait."""
        self._is_broker_away = True
        self._record(error)
        if self._is_to_be_logged(None):
            _log.warning("the broker takes no messages, %d wait: %s", waiting, error)

    def _record(self, error: Exception) -> None:
        self._since = self._since or self.clock.now()
        self._error = str(error) or type(error).__name__

    def _is_to_be_logged(self, what: PeriodicTaskId | None) -> bool:
        now, logged_at = self.monotonic(), self._logged_at.get(what)
        if logged_at is not None and now - logged_at < REMIND_AFTER:
            return False
        self._logged_at[what] = now
        return True
