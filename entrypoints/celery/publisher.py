"""The messages of runs, published as Celery's own scheduler would."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from celery.beat import SchedulingError
from kombu.exceptions import OperationalError
from kombu.transport.pyamqp import Transport as RabbitMQ

from application.scheduler.dispatcher import BrokerAway, Publisher
from application.scheduler.schedule_queue import Entry, Message
from domain.scheduling.periodic_tasks import PeriodicTask
from domain.scheduling.task_runs import Run
from entrypoints.celery.headers import SLOT_HEADER, TASK_HEADER


@dataclass(frozen=True, slots=True)
class DueEntry:
    """What `celery.beat.Scheduler.apply_async` takes."""

    name: str
    task: str
    args: Iterable[Any]
    kwargs: Mapping[str, Any]
    options: dict[str, Any]


class CeleryPublisher(Publisher):
    """Publishes through `apply`; a connection that fails is given up by `disconnect`, and another one tried at once."""

    def __init__(self, apply: Callable[[DueEntry], object], disconnect: Callable[[], None]) -> None:
        self._apply = apply
        self._disconnect = disconnect
        self._has_worked = False

    def publish(self, entry: Entry, run: Run, expires_at: datetime | None) -> None:
        assert isinstance(entry.task, PeriodicTask)  # noqa: S101 - no other is due
        due = due_entry(entry.task, entry.message, run, expires_at)
        try:
            self._publish(due)
        except BrokerAway:
            if not self._has_worked:
                raise
            # The broker may have been restarted since the last message.
            self._has_worked = False
            self._publish(due)
        self._has_worked = True

    def _publish(self, due: DueEntry) -> None:
        try:
            self._apply(replace(due, options=due.options | {"headers": {**due.options["headers"]}}))
        except Exception as error:  # noqa: BLE001 - raised again, as what it is
            reason = (error.__context__ if isinstance(error, SchedulingError) else None) or error
            if isinstance(reason, OperationalError | OSError) and not _is_of_message(reason):
                self._disconnect()
                raise BrokerAway(str(reason)) from reason
            raise reason from None


def _is_of_message(error: Exception) -> bool:
    """Tell whether the message is at fault, though Kombu says the connection is: no other message is to wait for it.

    With Redis, Kombu takes every `KeyError` for a lost connection, also that of an unknown compression; and every
    refusal, also that to put a message where something else is than a queue. With RabbitMQ, it takes a queue that
    is somebody else's for one.
    """
    cause = error.__cause__
    return isinstance(cause, (KeyError, *RabbitMQ.channel_errors)) or "WRONGTYPE" in str(cause)


_NOT_FOR_TASKS = frozenset(
    {"retry_policy", "timeout", "confirm_timeout", "connection", "producer", "publisher"}
)
"""Options that say how long to wait for the broker, or that bring a connection of their own, which nobody bounds."""


def due_entry(
    task: PeriodicTask, message: Message | None, run: Run, expires_at: datetime | None
) -> DueEntry:
    """Return what to publish. The id is that of the run, so that a message that comes twice is known to be one.

    What the definition says about publishing stays as it is, but for what would make the beat wait: whatever cannot be
    published now is tried again by the beat itself, and holds up no other message.
    """
    definition = task.definition
    stored = Message(definition.args, definition.kwargs, definition.options.given)
    given = (message or stored).options
    options: dict[str, Any] = {
        **{name: value for name, value in given.items() if name not in _NOT_FOR_TASKS},
        "retry": False,
    }
    if expires_at is not None and (message is None or "expires" not in options):
        options["expires"] = expires_at
    message = message or stored
    options["task_id"] = str(run.id)
    options["headers"] = {
        **(message.options.get("headers") or {}),
        TASK_HEADER: str(task.id),
        SLOT_HEADER: run.scheduled_for.isoformat(),
    }
    return DueEntry(definition.name, definition.task, message.args, message.kwargs, options)
