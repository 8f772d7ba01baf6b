"""What a scrape costs, counted: times differ from machine to machine, lines do not."""

from fastapi.routing import iter_route_contexts

from adapters.observability.metrics import PrometheusMetrics
from application.metrics import ALL, HTTP_DURATION, HTTP_REQUESTS
from application.ports.metrics import Counter, Histogram
from application.settings import HttpSettings
from entrypoints.http.app import described_app

STATUSES = ("200", "401", "404", "422")


def test_the_text_of_a_scrape_is_bounded() -> None:
    """A thousand lines take about 10 ms of CPU, and half as much again for each other process."""
    metrics = PrometheusMetrics()
    routes = [*iter_route_contexts(described_app(HttpSettings(), debug=False).routes)]
    for method, path in [
        (method, route.path) for route in routes for method in route.methods or ()
    ]:
        for status in STATUSES:
            metrics.count(HTTP_REQUESTS, method, str(path), status)
        metrics.observe(HTTP_DURATION, 0.01, method, str(path))
    for metric in ALL:
        labels = ["x" for _ in metric.labels]
        if isinstance(metric, Counter):
            metrics.count(metric, *labels)
        elif isinstance(metric, Histogram):
            metrics.observe(metric, 0.1, *labels)
        else:
            metrics.set(metric, 1, *labels)

    assert len(metrics.text().splitlines()) < 2500
