"""What is counted of connections and events of Socket.IO, and the spans of events."""

from contextlib import AbstractContextManager

from application.metrics import (
    SOCKET_CONNECTIONS_ENDED,
    SOCKET_CONNECTIONS_OPENED,
    SOCKET_DROPPED,
    SOCKET_EVENT_DURATION,
    SOCKET_EVENTS,
    SOCKET_REFUSED,
)
from application.ports.metrics import Metrics
from entrypoints.socketio import metrics
from entrypoints.socketio.errors import Code
from entrypoints.tracing import Traces


class SocketMetrics(metrics.Metrics):
    """Counts what the server reports. If there are traces, each event is a span with the name of its handler."""

    def __init__(self, measured: Metrics, traces: Traces | None = None) -> None:
        self._metrics = measured
        self._traces = traces

    def connected(self, namespace: str) -> None:  # noqa: ARG002 - as the server calls it
        self._metrics.count(SOCKET_CONNECTIONS_OPENED)

    def connection_refused(self, namespace: str, code: int) -> None:  # noqa: ARG002
        self._metrics.count(SOCKET_REFUSED, str(int(code)))

    def disconnected(self, namespace: str, reason: str) -> None:  # noqa: ARG002
        self._metrics.count(SOCKET_CONNECTIONS_ENDED, reason)

    def handling(self, namespace: str, event: str) -> AbstractContextManager[object]:
        if self._traces is None:
            return super().handling(namespace, event)
        return self._traces.span(f"EVENT {event}", "server")

    def handled(self, namespace: str, event: str, seconds: float, code: int | None) -> None:  # noqa: ARG002
        outcome = "ok" if code is None else str(int(code))
        self._metrics.count(SOCKET_EVENTS, event, outcome)
        self._metrics.observe(SOCKET_EVENT_DURATION, seconds, event)
        if self._traces is not None and code == Code.INTERNAL:
            self._traces.fail(outcome)

    def refused(self, namespace: str, code: int) -> None:  # noqa: ARG002
        self._metrics.count(SOCKET_EVENTS, "*", str(int(code)))

    def dropped(self, reason: str) -> None:
        self._metrics.count(SOCKET_DROPPED, reason)
