"""What is counted of connections and events of Socket.IO."""

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


class SocketMetrics(metrics.Metrics):
    """Counts what the server reports."""

    def __init__(self, measured: Metrics) -> None:
        self._metrics = measured

    def connected(self, namespace: str) -> None:  # noqa: ARG002 - as the server calls it
        self._metrics.count(SOCKET_CONNECTIONS_OPENED)

    def connection_refused(self, namespace: str, code: int) -> None:  # noqa: ARG002
        self._metrics.count(SOCKET_REFUSED, str(int(code)))

    def disconnected(self, namespace: str, reason: str) -> None:  # noqa: ARG002
        self._metrics.count(SOCKET_CONNECTIONS_ENDED, reason)

    def handled(self, namespace: str, event: str, seconds: float, code: int | None) -> None:  # noqa: ARG002
        outcome = "ok" if code is None else str(int(code))
        self._metrics.count(SOCKET_EVENTS, event, outcome)
        self._metrics.observe(SOCKET_EVENT_DURATION, seconds, event)

    def refused(self, namespace: str, code: int) -> None:  # noqa: ARG002
        self._metrics.count(SOCKET_EVENTS, "*", str(int(code)))

    def dropped(self, reason: str) -> None:
        self._metrics.count(SOCKET_DROPPED, reason)
