"""The heartbeat of a worker: it beats while the worker takes messages from the broker."""

from typing import Any

from celery import bootsteps

from entrypoints.celery.process import process_settings
from entrypoints.heartbeat import EVERY, Heartbeat


class WorkerHeartbeat(bootsteps.StartStopStep):
    """Started by each connection to the broker, stopped by its end."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None
        name = consumer.hostname.partition("@")[0]
        self._heartbeat = Heartbeat(process_settings().data_dir, f"worker {name}")

    def start(self, consumer: Any) -> None:
        """Beat now, and then as often as the loop that takes messages comes round."""
        self._beat(consumer.hostname)
        self._timer = consumer.timer.call_repeatedly(EVERY, self._beat, (consumer.hostname,))

    def stop(self, consumer: Any) -> None:  # noqa: ARG002
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._heartbeat.end()

    def _beat(self, node: str) -> None:
        self._heartbeat.beat(worker=node)
