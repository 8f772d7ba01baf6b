"""Connections to a Redis that is the broker, as far as they are not Kombu's: their commands share a client."""

from typing import Any

import pytest
from kombu import Connection
from redis import ConnectionPool, Redis

from entrypoints.celery import redis_broker
from entrypoints.celery.redis_broker import Channel, Transport


@pytest.fixture
def channel() -> Any:
    """Return a channel that has asked no server."""
    channel: Any = Channel.__new__(Channel)
    channel.Client = Redis
    channel._pool = ConnectionPool()
    return channel


def client_of(channel: Any, given: object = None) -> Any:
    with channel.conn_or_acquire(given) as client:
        return client


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_these_connections_are_taken_for_every_address_of_redis(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr("kombu.transport._transport_cache", {})  # of what other tests asked for
    redis_broker.use()

    transport = Connection(f"{scheme}://somewhere").transport
    assert isinstance(transport, Transport)
    assert transport.Channel is Channel


def test_commands_of_a_channel_share_a_client(channel: Any) -> None:
    assert client_of(channel) is client_of(channel)
    assert client_of(channel).connection_pool is channel.pool


def test_a_channel_with_another_pool_has_another_client(channel: Any) -> None:
    """A forked process and a channel that connects again leave the connections that were there alone."""
    before = client_of(channel)
    channel._pool = ConnectionPool()

    assert client_of(channel) is not before
    assert client_of(channel).connection_pool is channel.pool


def test_a_client_that_is_given_is_used(channel: Any) -> None:
    given = Redis().pipeline()

    assert client_of(channel, given) is given
