"""What the process serves beside the routes."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from application.ports.metrics import Metrics
from domain.permissions import Route


class Companion(Protocol):
    """Serves something else than HTTP with the same container; `app.state.companion`, or None."""

    def permissions(self) -> Sequence[Route]:
        """Return what it serves only to callers with a permission."""
        ...

    def document(self) -> Mapping[str, Any]:
        """Return what it serves, as AsyncAPI."""
        ...

    def sample(self, metrics: Metrics) -> None:
        """Set the gauges of what it serves."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """Serve while the block runs."""
        ...
