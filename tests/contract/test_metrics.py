"""What `Metrics` promises, kept by memory and by prometheus-client."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.memory.metrics import MemoryMetrics
from adapters.observability.metrics import PrometheusMetrics
from application.ports.metrics import Counter, Gauge, Histogram, Metrics, Reading

VISITS = Counter("visits_total", "Visits.", ("page", "outcome"))
ALONE = Counter("alone_total", "Without labels.")
LENGTH = Histogram("length_seconds", "How long.", ("page",), buckets=(0.1, 1.0))
OPEN = Gauge("open", "Open ones.", ("room",))


@pytest.fixture(params=[MemoryMetrics, PrometheusMetrics])
def metrics(request: pytest.FixtureRequest) -> Metrics:
    made: Metrics = request.param()
    return made


def values(metrics: Metrics, *readings: Reading) -> dict[str, float]:
    """Return what the text says, as a scrape would read it; of a histogram, only the sum."""
    text = metrics.text(readings).decode()
    return {
        f"{sample.name.removesuffix('_sum')}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_count"))
    }


def test_a_counter_counts_by_its_labels(metrics: Metrics) -> None:
    metrics.count(VISITS, "/a", "ok")
    metrics.count(VISITS, "/a", "ok")
    metrics.count(VISITS, "/b", "ok")
    metrics.count(ALONE)

    assert values(metrics) == {
        "visits_total['/a', 'ok']": 2,
        "visits_total['/b', 'ok']": 1,
        "alone_total[]": 1,
    }


def test_a_histogram_adds_durations(metrics: Metrics) -> None:
    metrics.observe(LENGTH, 0.5, "/a")
    metrics.observe(LENGTH, 0.25, "/a")

    assert values(metrics) == {"length_seconds['/a']": 0.75}


def test_a_gauge_has_its_last_value(metrics: Metrics) -> None:
    metrics.set(OPEN, 3, "lobby")
    metrics.set(OPEN, 2, "lobby")

    assert values(metrics) == {"open['lobby']": 2}


def test_a_reading_stands_in_for_what_was_set(metrics: Metrics) -> None:
    metrics.set(OPEN, 3, "lobby")

    assert values(metrics, Reading(OPEN, 7, ("lobby",))) == {"open['lobby']": 7}
    assert values(metrics) == {"open['lobby']": 3}


def test_without_anything_measured_there_is_no_text(metrics: Metrics) -> None:
    assert metrics.text() == b""
