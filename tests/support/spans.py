"""The traces of a process that exports its spans into memory."""

from collections import defaultdict
from typing import Any

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters.observability.traces import Traces
from application.settings import TracesSettings

ALWAYS = TracesSettings(url="http://127.0.0.1:9", sample=100)


class Recorded:
    """Traces, and the spans that have ended."""

    def __init__(self, settings: TracesSettings = ALWAYS) -> None:
        self._exporter = InMemorySpanExporter()
        self.traces = Traces(settings, "test", SimpleSpanProcessor(self._exporter))

    def spans(self) -> list[Any]:
        """Return them in the order of their ends."""
        return [*self._exporter.get_finished_spans()]

    def tree(self) -> dict[str, list[str]]:
        """Return the names of spans, by the name of the span that they are in."""
        names = {span.context.span_id: span.name for span in self.spans()}
        children = defaultdict[str, list[str]](list)
        for span in self.spans():
            if span.parent is not None:
                children[names[span.parent.span_id]].append(span.name)
        return dict(children)

    def json(self) -> str:
        """Return all that is exported."""
        return "".join(span.to_json() for span in self.spans())
