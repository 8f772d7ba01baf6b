"""Connections to RabbitMQ, as far as they are not RabbitMQ's: time limits, forks, and what closes a channel."""

import socket

import pytest
from kombu import Connection as Broker
from kombu.transport.pyamqp import Transport as KombusTransport

from entrypoints.celery import rabbitmq
from entrypoints.celery.rabbitmq import ChannelLost, Connection, NoAnswer, SSLTransport, Transport

CLOSE = (20, 40)


@pytest.fixture
def silent() -> tuple[Connection, socket.socket]:
    """Return a connection to a server that says nothing, and the server's end of it."""
    ours, theirs = socket.socketpair()
    connection = Connection("rabbit", answer_within=0.05)
    transport = connection.Transport("rabbit", connect_timeout=1)
    transport.sock, transport.connected = ours, True
    transport._read_buffer, transport._quick_recv = b"", ours.recv
    connection.transport = transport  # type: ignore[misc]  # the stubs forbid it
    return connection, theirs


def test_these_connections_are_taken_for_every_address_of_rabbitmq(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kombu.transport._transport_cache", {})  # of what other tests asked for
    rabbitmq.use()

    assert isinstance(Broker("amqp://rabbit").transport, Transport)
    encrypted = Broker("amqps://rabbit")
    assert isinstance(encrypted.transport, SSLTransport)
    assert encrypted.ssl is True
    assert encrypted.as_uri() == "amqps://guest:**@rabbit:5671//"


def test_waiting_for_a_server_that_does_not_answer_ends(
    silent: tuple[Connection, socket.socket],
) -> None:
    connection, theirs = silent

    with theirs, pytest.raises(NoAnswer, match=r"within 0\.05 s"):
        connection.wait(CLOSE)

    assert not connection.connected


def test_a_forked_process_leaves_the_connection_to_its_parent(
    silent: tuple[Connection, socket.socket],
) -> None:
    """`amqp` would shut it down: what the parent sends next would be lost."""
    connection, theirs = silent
    parents = connection.transport.sock.dup()
    connection._process = -1  # that of the parent

    connection.collect()

    with theirs, parents:
        parents.sendall(b"still here")
        assert theirs.recv(10) == b"still here"


@pytest.mark.parametrize(
    ("asked", "error"), [((0, 0), ChannelLost), ((60, 40), KombusTransport.channel_errors)]
)
def test_a_channel_that_the_server_closes_unasked_is_a_lost_connection(
    asked: tuple[int, int], error: type[Exception]
) -> None:
    """A worker connects again after that; any other error of a channel is of what was asked."""
    sent: list[object] = []
    connection = Connection("rabbit")
    channel = connection.Channel(connection, 1)
    connection.frame_writer = lambda *frame: sent.append(frame)  # type: ignore[misc]  # as above
    channel._do_revive = lambda: None  # type: ignore[attr-defined]  # as above

    with pytest.raises(error):
        channel._on_close(406, "PRECONDITION_FAILED", *asked)

    assert sent


def test_a_refused_connection_may_be_accepted_the_next_time() -> None:
    """So it is a `ConnectionError`, which workers and beats wait for."""
    refusal = next(iter(KombusTransport.channel_errors))("no")

    class Refusing(Transport):
        class Connection(rabbitmq.Connection):
            def connect(self, *_: object) -> None:
                raise refusal

    transport = Refusing(Broker("amqp://rabbit"))

    with pytest.raises(ConnectionError, match="RabbitMQ refuses the connection"):
        transport.establish_connection()
