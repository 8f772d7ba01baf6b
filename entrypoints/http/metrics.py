"""The metrics of the API, for Prometheus; and what is measured of each request."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from application.metrics import HTTP_DURATION, HTTP_IN_PROGRESS, HTTP_REQUESTS
from application.ports.metrics import UNMEASURED, Metrics
from entrypoints.http.request_context import RequestContext, request_context
from entrypoints.http.router import Router
from entrypoints.http.security import PublicRoute
from entrypoints.metrics_page import CONTENT_TYPE, MetricsPage, may_scrape
from entrypoints.wiring import settings_of

router = Router(tags=["health"])

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetrics:
    """Counts and measures requests, by the template of their route."""

    def __init__(self) -> None:
        self.metrics: Metrics = UNMEASURED
        self.in_progress = 0
        """Who begins to answer a request adds one; `end` takes it back."""

    def end(self, context: RequestContext, method: str, seconds: float) -> None:
        """Count a request. Without a route, or without a status because the client left, the label is `none`."""
        self.in_progress -= 1
        route = context.route or "none"
        if method not in _METHODS:
            method = "other"
        self.metrics.count(HTTP_REQUESTS, method, route, str(context.status or "none"))
        self.metrics.observe(HTTP_DURATION, seconds, method, route)

    def sample(self, metrics: Metrics) -> None:
        """Set how many requests are being answered."""
        metrics.set(HTTP_IN_PROGRESS, self.in_progress)


@router.get("/metrics", dependencies=[PublicRoute], include_in_schema=False)
async def show_metrics(request: Request) -> Response:
    """Return the metrics of all processes of this API, to those whom PORTICO_METRICS_ALLOW or a token lets in."""
    context = request_context(request.scope)
    if not may_scrape(settings_of(request).metrics, context.client, context.headers):
        raise HTTPException(
            403, "The metrics are for PORTICO_METRICS_ALLOW and PORTICO_METRICS_TOKEN"
        )
    page: MetricsPage = request.app.state.metrics_page
    return Response(await page(), media_type=CONTENT_TYPE)
