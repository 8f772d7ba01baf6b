"""Connections to a Redis that is the broker, which publish a message for a fourth less CPU than Kombu's.

Kombu makes a client of redis-py for each command; most of that is a table of 170 answers and how to read them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import redis

from entrypoints.celery.internals import RedisChannelHooks, use_transport


def use() -> None:
    """Have Kombu take these connections for all addresses of Redis."""
    for scheme in ("redis", "rediss"):
        use_transport(scheme, f"{__name__}:{Transport.__name__}")


class Channel(RedisChannelHooks):
    """A channel whose commands share a client, as long as they share a pool of connections."""

    _shared: Any = None

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Yield the client that is given, or else the shared one; any thread may use it."""
        if client is None:
            client = self._shared
            # A channel that was closed, or inherited by a forked process, has another pool.
            if client is None or client.connection_pool is not self.pool:
                client = self._shared = self.new_client()
        yield client


class Transport(redis.Transport):
    """Kombu's transport for `redis://` and `rediss://` once `use` was called."""

    Channel = Channel
