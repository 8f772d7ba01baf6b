"""A span for each request."""

from starlette.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.request_context import TRACE_ID, request_context, route_template
from entrypoints.tracing import Traces

_FAULT_OF_OURS = 500


class TracedApp:
    """Answers requests in a span, which has the name of the route's template, and nothing that the client sent."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method: str = scope["method"]
        given = [value for name, value in scope["headers"] if name == b"traceparent"]
        carrier = {"traceparent": given[0].decode("latin-1")} if len(given) == 1 else None
        with self._traces.span(method, "server", carrier) as span:
            scope[TRACE_ID] = f"{span.get_span_context().trace_id:032x}"
            await self._app(scope, receive, send)
            if span.is_recording():
                status = request_context(scope).status or 0
                route = route_template(scope) or "none"
                span.update_name(f"{method} {route}")
                span.set_attributes(
                    {
                        "http.request.method": method,
                        "http.route": route,
                        "http.response.status_code": status,
                    }
                )
                if status >= _FAULT_OF_OURS:
                    self._traces.fail(f"{status}")
