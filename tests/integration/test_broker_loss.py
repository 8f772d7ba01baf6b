"""Workers whose broker goes away: a Redis of the test's own."""

from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Queue

from entrypoints.celery.recording import RecordingConsumer
from tests.support.valkey import Valkey

pytestmark = pytest.mark.server


async def test_a_worker_outlives_a_broker_that_is_killed_while_a_message_is_unacknowledged(
    tmp_path: Path,
) -> None:
    """What is raised here is an unrecoverable error to Celery, and ends the worker."""
    with Valkey(tmp_path) as broker:
        app = Celery(broker=broker.url, set_as_current=False)
        app.conf.worker_enable_prefetch_count_reduction = False
        # Without the rest of a worker, whose making changes Celery for the whole process.
        consumer = RecordingConsumer.__new__(RecordingConsumer)
        consumer.app = app
        consumer.connection = app.connection_for_read()
        _receive_and_wait(consumer.connection)

        await broker.kill()
        with pytest.warns(match="cancels all currently executed tasks"):
            consumer.on_connection_error_after_connected(ConnectionResetError())

        assert consumer.connection is None


def _receive_and_wait(connection: Connection) -> None:
    """Receive a message without acknowledging it, and wait for another and for commands, as workers do."""
    received: list[Any] = []
    queue = Queue("lost")
    connection.Producer().publish("a message", routing_key="lost", declare=[queue])
    connection.Consumer([queue], callbacks=[lambda *given: received.append(given)]).consume()
    connection.Consumer([Queue("commands")], channel=connection.channel()).consume()
    while not received:
        connection.drain_events(timeout=5)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)
