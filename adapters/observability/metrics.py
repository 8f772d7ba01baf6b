"""`Metrics` in the format of Prometheus, kept by prometheus-client."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from adapters.observability.slots import Slots
from application.ports.metrics import Counter, Gauge, Histogram, Metric, Metrics, Reading

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second, useless series beside each


_MODES: Mapping[str, Literal["livesum", "livemax"]] = {"sum": "livesum", "max": "livemax"}


class PrometheusMetrics(Metrics):
    """Metrics of this process alone or, with a directory, of all processes that share it: one object in each.

    Each metric is made when it is first used. Its values are remembered by their labels: to look them up costs most.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._registry = CollectorRegistry()
        self._metrics: dict[Metric, Any] = {}
        self._children: dict[tuple[Metric, tuple[str, ...]], Any] = {}
        self._making = Lock()
        self._slots = None if directory is None else _share(directory)
        self._collector: Collector = (
            self._registry if directory is None else MultiProcessCollector(None, str(directory))  # type: ignore[no-untyped-call]
        )

    def count(self, counter: Counter, *labels: str) -> None:
        key = counter, labels
        (self._children.get(key) or self._child(key)).inc()

    def observe(self, histogram: Histogram, seconds: float, *labels: str) -> None:
        key = histogram, labels
        (self._children.get(key) or self._child(key)).observe(seconds)

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        key = gauge, labels
        (self._children.get(key) or self._child(key)).set(value)

    def text(self, readings: Sequence[Reading] = ()) -> bytes:
        if self._slots is not None:
            self._slots.remove_gauges_of_dead()
        return generate_latest(_With(self._collector, readings))

    def _child(self, key: tuple[Metric, tuple[str, ...]]) -> Any:  # noqa: ANN401 - of any kind
        metric, labels = key
        with self._making:
            made = self._metrics.get(metric) or self._make(metric)
            child = self._children[key] = made.labels(*labels) if labels else made
        return child

    def _make(self, metric: Metric) -> Any:  # noqa: ANN401 - of any kind
        made: Any
        match metric:
            case Counter():
                made = prometheus_client.Counter(
                    metric.name, metric.text, metric.labels, registry=self._registry
                )
            case Histogram():
                made = prometheus_client.Histogram(
                    metric.name,
                    metric.text,
                    metric.labels,
                    registry=self._registry,
                    buckets=metric.buckets,
                )
            case Gauge():
                made = prometheus_client.Gauge(
                    metric.name,
                    metric.text,
                    metric.labels,
                    registry=self._registry,
                    multiprocess_mode=_MODES[metric.over_processes],
                )
        self._metrics[metric] = made
        return made


def _share(directory: Path) -> Slots:
    """Keep values that are made from now on in files of the directory."""
    # The library asks these two whenever it makes a value.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)  # noqa: TID251 - written, not read
    slots = Slots(directory)
    values.ValueClass = values.MultiProcessValue(slots.own)  # type: ignore[no-untyped-call]
    return slots


class _With(Collector):
    """What a collector collects, and readings."""

    def __init__(self, collector: Collector, readings: Iterable[Reading]) -> None:
        self._collector = collector
        self._readings = readings

    def collect(self) -> Iterable[Family]:
        asked: dict[str, GaugeMetricFamily] = {}
        for reading in self._readings:
            gauge = reading.gauge
            if gauge.name not in asked:
                asked[gauge.name] = GaugeMetricFamily(gauge.name, gauge.text, labels=gauge.labels)
            asked[gauge.name].add_metric(reading.labels, reading.value)
        yield from (family for family in self._collector.collect() if family.name not in asked)
        yield from asked.values()
