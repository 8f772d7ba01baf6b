"""Ask a server once whether it lets Celery in, as workers and beats will: `python -m entrypoints.celery.broker`.

Its address is on standard input. With the argument `result` it is asked as the store of results, else as the broker.
Exit code 0 says yes. Otherwise the last line on standard error says why not. Loads Celery and nothing of Portico's:
this is a process of its own, which a worker or a beat waits for when it starts.
"""

import sys
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from entrypoints.celery.connections import broker, is_rabbitmq, results


def ask(url: str) -> int:
    """Connect to a broker, and return an exit code."""
    if is_rabbitmq(url):
        from entrypoints.celery import rabbitmq  # noqa: PLC0415 - it loads more

        rabbitmq.use()
    app = Celery(set_as_current=False)
    app.conf.update(broker(url))
    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=0)
        except OperationalError as error:
            return _refused(connection.as_uri(), error)
        channel: Any = connection.default_channel
        return 0 if is_rabbitmq(url) else _as_single_server(connection, channel.client)


def ask_results(url: str) -> int:
    """Connect to a store of results, and return an exit code."""
    app = Celery(set_as_current=False)
    app.conf.update(results(url))
    backend: Any = app.backend
    try:
        backend.client.ping()
    except (*backend.connection_errors, *backend.channel_errors) as error:
        return _refused(backend.as_uri(), error)
    return _as_single_server(backend, backend.client)


def _as_single_server(server: Any, redis: Any) -> int:
    """Return an exit code for a Redis that answers: Celery does not speak to a cluster."""
    try:
        is_in_cluster = redis.info("cluster").get("cluster_enabled")
    except server.channel_errors:  # not for this user, or not from this provider
        return 0
    return _refused(server.as_uri(), _IN_CLUSTER) if is_in_cluster else 0


_IN_CLUSTER = "it is a node of a Redis Cluster, and jobs need a Redis of their own"


def _refused(address: str, error: object) -> int:
    sys.stderr.write(f"{address}: {' '.join(str(error).split())}\n")
    return 1


if __name__ == "__main__":
    given = sys.stdin.read()
    sys.exit(ask_results(given) if sys.argv[1:] == ["result"] else ask(given))
