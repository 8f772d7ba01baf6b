"""What `bootstrap.traces` returns, as entrypoints see it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from bootstrap import Container


class Traces(Protocol):
    """The traces of a process."""

    def span(
        self, name: str, kind: str, carrier: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Any]:
        """Be in a span of OpenTelemetry while the block runs: a child of the one in `carrier`, or of the current one.

        The kind is `server`, `consumer`, `producer`, `client` or `internal`.
        """
        ...

    def fail(self, why: str) -> None:
        """Mark the current span as failed."""
        ...

    def spans_of(self, system: str) -> Callable[[str], AbstractContextManager[object]]:
        """Return what makes a span for a call to another system, within a span that is recorded."""
        ...

    def follow_statements(self, engine: Any) -> None:  # noqa: ANN401 - the engine of the container
        """Have a span for each statement within a span that is recorded."""
        ...

    def close(self) -> None:
        """Send what was recorded. It may take some seconds."""
        ...


def follow_servers(traces: Traces, container: Container) -> None:
    """Have a span for each statement, command and call that goes to PostgreSQL, Redis or S3 within a recorded span."""
    traces.follow_statements(container.engine())
    container.redis().span_of = traces.spans_of("redis")
    container.s3().span_of = traces.spans_of("s3")
