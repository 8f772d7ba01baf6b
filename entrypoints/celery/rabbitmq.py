"""Connections to RabbitMQ that wait for an answer only so long, and that a forked process leaves alone."""

import os
from collections.abc import Callable
from typing import Any

from kombu.transport import pyamqp

from entrypoints.celery.internals import ChannelHooks, close_inherited_socket, use_transport

_ANSWER_WITHIN = 10.0


def use() -> None:
    """Have Kombu take these connections for all addresses of RabbitMQ."""
    for scheme, transport in {"amqp": Transport, "amqps": SSLTransport}.items():
        use_transport(scheme, f"{__name__}:{transport.__name__}")


class BrokerRefuses(ConnectionError):
    """RabbitMQ answers, and does not let us in: the user, the password or the virtual host is not the right one."""


class NoAnswer(ConnectionError):
    """RabbitMQ did not answer in time. It may be paused, or out of memory or disk, when it takes no messages."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"RabbitMQ did not answer within {seconds:g} s")


class ChannelLost(ConnectionError):
    """RabbitMQ closed a channel of its own accord: a message was not acknowledged within its `consumer_timeout`."""


class Channel(ChannelHooks):
    """A channel whose questions (and the confirmation of a message is an answer to one) have a time limit."""

    lost = ChannelLost  # a worker connects again

    def wait(
        self,
        method: Any,
        callback: Callable[..., Any] | None = None,
        timeout: float | None = None,
        returns_tuple: bool = False,
    ) -> Any:
        connection: Connection = self.connection
        within = timeout or connection.answer_within
        try:
            return super().wait(method, callback, within, returns_tuple)
        except TimeoutError as error:
            connection.collect()  # a late answer would be taken for that to another question
            raise NoAnswer(within) from error


class Connection(pyamqp.Connection):
    """A connection that belongs to the process that opened it."""

    Channel = Channel

    def __init__(self, *args: Any, answer_within: float = _ANSWER_WITHIN, **options: Any) -> None:
        super().__init__(*args, **options)
        self.answer_within = answer_within
        self._process = os.getpid()

    def wait(
        self,
        method: Any,
        callback: Callable[..., Any] | None = None,
        timeout: float | None = None,
        returns_tuple: bool = False,
    ) -> Any:
        within = timeout or self.answer_within
        try:
            return super().wait(method, callback, within, returns_tuple)
        except TimeoutError as error:
            self.collect()
            raise NoAnswer(within) from error

    def collect(self) -> None:
        """Close the connection; after a fork, only what the child has of it."""
        if self._process != os.getpid():
            close_inherited_socket(self)
        super().collect()


class Transport(pyamqp.Transport):
    """Kombu's transport for `amqp://` once `use` was called."""

    Connection = Connection

    def establish_connection(self) -> Any:
        """Connect; raise `OSError` if that fails for any reason, so that Celery tries again."""
        try:
            return super().establish_connection()
        except (*self.connection_errors, *self.channel_errors) as error:
            if isinstance(error, OSError):
                raise
            reason = getattr(error, "reply_text", None) or error
            raise BrokerRefuses(f"RabbitMQ refuses the connection: {reason}") from error


class SSLTransport(Transport, pyamqp.SSLTransport):
    """The one for `amqps://`."""
