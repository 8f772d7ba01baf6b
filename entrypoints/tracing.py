"""What `bootstrap.start_traces` returns, as entrypoints see it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Traces(Protocol):
    """The traces of a process."""

    def span(
        self, name: str, kind: str, carrier: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Any]:
        """Be in a span of OpenTelemetry while the block runs: a child of the one in `carrier`, or of the current one.

        The kind is `server`, `consumer`, `producer` or `internal`.
        """
        ...

    def fail(self, span: Any, why: str) -> None:  # noqa: ANN401 - of OpenTelemetry
        """Mark a span as failed."""
        ...

    def follow_statements(self, engine: Any) -> None:  # noqa: ANN401 - the engine of the container
        """Have a span for each statement within a span that is recorded."""
        ...

    def close(self) -> None:
        """Send what was recorded. It may take some seconds."""
        ...
