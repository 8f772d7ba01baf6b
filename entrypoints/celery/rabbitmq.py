"""Connections to RabbitMQ that wait for an answer only so long, and that a forked process leaves alone."""

import os
from collections.abc import Callable
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, pyamqp

_ANSWER_WITHIN = 10.0


def use() -> None:
    """Have Kombu take these connections for all addresses of RabbitMQ."""
    for scheme, transport in {"amqp": Transport, "amqps": SSLTransport}.items():
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{transport.__name__}"


class BrokerRefuses(ConnectionError):
    """RabbitMQ answers, and does not let us in: the user, the password or the virtual host is not the right one."""


class NoAnswer(ConnectionError):
    """RabbitMQ did not answer in time. It may be paused, or out of memory or disk, when it takes no messages."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"RabbitMQ did not answer within {seconds:g} s")


class ChannelLost(ConnectionError):
    """RabbitMQ closed a channel of its own accord: a message was not acknowledged within its `consumer_timeout`."""


class Channel(pyamqp.Channel):
    """A channel whose questions (and the confirmation of a message is an answer to one) have a time limit."""

    def wait(
        self,
        method: Any,  # noqa: ANN401 - as amqp's
        callback: Callable[..., Any] | None = None,
        timeout: float | None = None,
        returns_tuple: bool = False,  # noqa: FBT001, FBT002 - as amqp's
    ) -> Any:  # noqa: ANN401 - as amqp's
        connection: Connection = self.connection
        within = timeout or connection.answer_within
        try:
            return super().wait(method, callback, within, returns_tuple)
        except TimeoutError as error:
            connection.collect()  # a late answer would be taken for that to another question
            raise NoAnswer(within) from error

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        """Raise what a worker connects again for, unless the reason is something that we have asked."""
        try:
            super()._on_close(reply_code, reply_text, class_id, method_id)  # type: ignore[misc]  # the stubs lack it
        except self.connection.channel_errors as error:
            if (class_id, method_id) != (0, 0):
                raise
            raise ChannelLost(reply_text) from error


class Connection(pyamqp.Connection):
    """A connection that belongs to the process that opened it."""

    Channel = Channel

    def __init__(self, *args: Any, answer_within: float = _ANSWER_WITHIN, **options: Any) -> None:  # noqa: ANN401 - amqp's
        super().__init__(*args, **options)
        self.answer_within = answer_within
        self._process = os.getpid()

    def wait(
        self,
        method: Any,  # noqa: ANN401 - as amqp's
        callback: Callable[..., Any] | None = None,
        timeout: float | None = None,
        returns_tuple: bool = False,  # noqa: FBT001, FBT002 - as amqp's
    ) -> Any:  # noqa: ANN401 - as amqp's
        within = timeout or self.answer_within
        try:
            return super().wait(method, callback, within, returns_tuple)
        except TimeoutError as error:
            self.collect()
            raise NoAnswer(within) from error

    def collect(self) -> None:
        """Close the connection; after a fork, only what the child has of it.

        `amqp` shuts the socket down, and so takes the connection away from the parent.
        """
        transport = self._transport  # type: ignore[attr-defined]  # the stubs lack it
        if self._process != os.getpid() and transport is not None and transport.sock is not None:
            transport.sock.close()
            transport.sock = None
        super().collect()


class Transport(pyamqp.Transport):
    """What Kombu takes for `amqp://` once `use` was called."""

    Connection = Connection

    def establish_connection(self) -> Any:  # noqa: ANN401 - a `Connection`
        """Connect; raise `OSError` if that fails, whatever the reason: it may have gone the next time."""
        try:
            return super().establish_connection()
        except (*self.connection_errors, *self.channel_errors) as error:
            if isinstance(error, OSError):
                raise
            reason = getattr(error, "reply_text", None) or error
            raise BrokerRefuses(f"RabbitMQ refuses the connection: {reason}") from error


class SSLTransport(Transport, pyamqp.SSLTransport):
    """What it takes for `amqps://`."""
