"""Traces with OpenTelemetry. Its SDK and its exporter are the extra `tracing`; a process without traces loads neither.

Spans are ours: an instrumentation of FastAPI costs 100 microseconds a request and writes query strings into spans.
Names are templates, and no attribute has what a client sent.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from random import getrandbits, random
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.observability.collector import collector_headers, collector_url
from application.settings import TracesSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

_W3C = TraceContextTextMapPropagator()
_KINDS: Mapping[str, SpanKind] = {
    "server": SpanKind.SERVER,
    "consumer": SpanKind.CONSUMER,
    "producer": SpanKind.PRODUCER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}

_NOTHING = nullcontext()


def can_trace() -> bool:
    """Return whether the extra `tracing` is installed."""
    return all(find_spec(f"opentelemetry.{part}") for part in ("sdk", "exporter"))


class Traces:
    """The traces of a process. Make it after a fork: the thread that exports spans is not copied."""

    def __init__(
        self, settings: TracesSettings, role: str, processor: "SpanProcessor | None" = None
    ) -> None:
        self._share = settings.sample / 100
        self._provider = _provider(settings, role, processor)
        self._tracer = self._provider.get_tracer("portico", version("portico"))

    def span(
        self,
        name: str,
        kind: str,
        carrier: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Span]:
        """Be in a span while the block runs: a child of the one that `carrier` names, or of the current one."""
        parent: Context | None = _W3C.extract(carrier) if carrier else None
        began = trace.get_current_span(parent).get_span_context()
        # A client must not decide that it is traced, nor by the id that it chooses. Any other parent has decided.
        has_decided = began.is_valid and kind != "server"
        is_kept = has_decided or random() < self._share  # noqa: S311 - no secret
        # Most are not kept; the SDK takes five times as long to say so.
        span = self._tracer.start_span(name, parent, _KINDS[kind]) if is_kept else _not_kept(began)
        return _Entered(span, parent)

    def fail(self, why: str) -> None:
        """Mark the current span as failed."""
        trace.get_current_span().set_status(Status(StatusCode.ERROR, why))

    def spans_of(self, system: str) -> Callable[[str], AbstractContextManager[object]]:
        """Return what makes a span for a call to another system, within a span that is recorded."""

        def span_of(operation: str) -> AbstractContextManager[object]:
            is_recorded = trace.get_current_span().is_recording()
            return self.span(f"{system} {operation}", "client") if is_recorded else _NOTHING

        return span_of

    def follow_statements(self, engine: AsyncEngine) -> None:
        """Have a span for each statement within a span that is recorded. Parameters are not in it."""
        sync = engine.sync_engine
        event.listen(sync, "before_cursor_execute", self._begin_statement)
        event.listen(sync, "after_cursor_execute", _end_statement)
        event.listen(sync, "handle_error", _fail_statement)

    # SQLAlchemy's own: connection, cursor, statement, parameters, context, executemany.
    def _begin_statement(self, *given: Any) -> None:  # noqa: ANN401
        if trace.get_current_span().is_recording():
            statement: str = given[2]
            operation = statement.split(maxsplit=1)[0].upper()
            span = self._tracer.start_span(f"postgresql {operation}", kind=SpanKind.CLIENT)
            span.set_attributes({"db.system.name": "postgresql", "db.query.text": statement})
            given[4].portico_span = span

    def close(self) -> None:
        """Export what was recorded."""
        self._provider.shutdown()


def _not_kept(began: SpanContext) -> Span:
    """Return a span that is not recorded; log lines have its id."""
    trace_id = began.trace_id or getrandbits(128)
    return NonRecordingSpan(SpanContext(trace_id, getrandbits(64), is_remote=False))


class _Entered:
    """A span that is the current one while the block runs. Each request has one; a generator would cost 4 us more."""

    __slots__ = ("_parent", "_span", "_token")

    def __init__(self, span: Span, parent: Context | None) -> None:
        self._span = span
        self._parent = parent

    def __enter__(self) -> Span:
        self._token = attach(trace.set_span_in_context(self._span, self._parent))
        return self._span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            # Neither its text nor its traceback: they may hold secrets.
            self._span.set_status(Status(StatusCode.ERROR, kind.__name__))
        detach(self._token)
        self._span.end()


def _end_statement(*given: Any) -> None:  # noqa: ANN401 - as above
    _end(given[4], None)


def _fail_statement(failure: Any) -> None:  # noqa: ANN401 - SQLAlchemy's ExceptionContext
    _end(failure.execution_context, failure.original_exception)


def _end(context: Any, error: BaseException | None) -> None:  # noqa: ANN401 - an ExecutionContext, or None
    span: Span | None = getattr(context, "portico_span", None)
    if span is not None:
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        span.end()


def trace_headers() -> dict[str, str]:
    """Return the headers that say in which trace the caller is; none outside of one."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier


def trace_id() -> str | None:
    """Return the id of the current trace, in hexadecimal digits, or None."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def _provider(
    settings: TracesSettings, role: str, processor: "SpanProcessor | None"
) -> "TracerProvider":
    # Only where traces are on: 8 MB, and a third of a second.
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased  # noqa: PLC0415

    provider = TracerProvider(
        resource=Resource.create({"service.name": f"portico-{role}"}),
        sampler=ParentBased(ALWAYS_ON),  # `span` has decided for those without a parent
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor or _exporting(settings))
    return provider


def _exporting(settings: TracesSettings) -> "SpanProcessor":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    # It sends in a thread, gives up after the time-out, and drops spans when too many wait.
    return BatchSpanProcessor(
        OTLPSpanExporter(
            collector_url(settings), headers={**collector_headers(settings)}, timeout=5
        )
    )
