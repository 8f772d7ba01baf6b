"""The messages of runs, published as Celery's own scheduler would."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from celery.beat import Scheduler, SchedulingError
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.transport.pyamqp import Transport as RabbitMQ

from application.ports.publisher import BrokerAway, Message, Publisher
from domain.scheduling.periodic_tasks import PeriodicTask
from domain.scheduling.task_runs import Run
from entrypoints.celery.headers import SLOT_HEADER, TASK_HEADER, TRACE_HEADER
from entrypoints.celery.internals import ignore_connection_errors, without_results

_BROKER_WITHIN = 2
"""Seconds that the broker may take to answer."""
_BROKER_LIMITS = (
    "socket_timeout",
    "socket_connect_timeout",
    "connect_timeout",
    "write_timeout",
    "answer_within",
)


@dataclass(frozen=True, slots=True)
class DueEntry:
    """The argument of `celery.beat.Scheduler.apply_async`."""

    name: str
    task: str
    args: Iterable[Any]
    kwargs: Mapping[str, Any]
    options: dict[str, Any]


class CeleryPublisher(Publisher):
    """Publishes through `scheduler`, over a connection of its own that fails soon rather than late.

    A connection that fails is given up, and another one tried at once.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._connection: Connection | None = None
        self._producer: Any = None
        self._has_worked = False

    def publish(
        self, run: Run, task: PeriodicTask, message: Message | None, expires_at: datetime | None
    ) -> None:
        due = due_entry(task, message, run, expires_at)
        try:
            self._publish(due)
        except BrokerAway:
            if not self._has_worked:
                raise
            # The broker may have been restarted since the last message.
            self._has_worked = False
            self._publish(due)
        self._has_worked = True

    def disconnect(self) -> None:
        """Close the connection; the next message opens another."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            ignore_connection_errors(connection, connection.collect)

    def _publish(self, due: DueEntry) -> None:
        entry: Any = replace(due, options=due.options | {"headers": {**due.options["headers"]}})
        try:
            if self._producer is None:
                self._producer = self._connect()
            # Otherwise Celery subscribes to the result of each message, on a connection that may hang.
            with without_results():
                self._scheduler.apply_async(entry, producer=self._producer, advance=False)
        except Exception as error:  # noqa: BLE001 - raised again, as what it is
            reason = (error.__context__ if isinstance(error, SchedulingError) else None) or error
            if isinstance(reason, OperationalError | OSError) and not _is_of_message(reason):
                self.disconnect()
                raise BrokerAway(str(reason)) from reason
            raise reason from None

    def _connect(self) -> object:
        app = self._scheduler.app
        self._connection = connection = app.connection_for_write(connect_timeout=_BROKER_WITHIN)
        options = connection.transport_options or {}
        connection.transport_options = options | {
            name: min(options[name], _BROKER_WITHIN) for name in _BROKER_LIMITS if name in options
        }
        connection.ensure_connection(max_retries=0, timeout=_BROKER_WITHIN)
        return app.amqp.Producer(connection, auto_declare=False)


def _is_of_message(error: Exception) -> bool:
    """Tell whether the message is at fault, though Kombu says the connection is: no other message is to wait for it.

    With Redis, Kombu takes every `KeyError` for a lost connection, also that of an unknown compression, and every
    refusal, also that of a key which is no queue. With RabbitMQ, it takes a queue of another connection for one.
    """
    cause = error.__cause__
    return isinstance(cause, (KeyError, *RabbitMQ.channel_errors)) or "WRONGTYPE" in str(cause)


_NOT_FOR_TASKS = frozenset(
    {"retry_policy", "timeout", "confirm_timeout", "connection", "producer", "publisher"}
)
"""Options that say how long to wait for the broker, or that bring a connection of their own, which has no time-out."""


def due_entry(
    task: PeriodicTask, message: Message | None, run: Run, expires_at: datetime | None
) -> DueEntry:
    """Return what to publish. The id is that of the run, so that a message that comes twice is known to be one.

    The options of the definition stay, except those that would make the beat wait: the beat itself retries a message
    that cannot be published now, and it holds up no other message.
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
        **({TRACE_HEADER: run.traceparent} if run.traceparent else {}),
    }
    return DueEntry(definition.name, definition.task, message.args, message.kwargs, options)
