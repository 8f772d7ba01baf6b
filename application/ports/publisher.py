"""The port that sends the messages of runs to the broker."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from domain.scheduling.periodic_tasks import PeriodicTask
from domain.scheduling.task_runs import Run


@dataclass(frozen=True, slots=True)
class Message:
    """The arguments and options of a task of the configuration, as the configuration has them."""

    args: Iterable[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


class BrokerAway(Exception):
    """The broker did not take a message; it may have arrived all the same."""


class Publisher(Protocol):
    """Sends messages. All calls come from one thread, so it may block, but for some seconds at most."""

    def publish(
        self, run: Run, task: PeriodicTask, message: Message | None, expires_at: datetime | None
    ) -> None:
        """Give the message of a run to the broker, the same at every attempt.

        `message` replaces what the definition says. Raise `BrokerAway`, or another error if this message can never be
        sent.
        """
        ...
