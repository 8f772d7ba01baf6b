"""Metrics in memory, for tests and demos."""

from collections import defaultdict
from collections.abc import Sequence

from application.ports.metrics import Counter, Gauge, Histogram, Metric, Metrics, Reading


class MemoryMetrics(Metrics):
    """Keeps all numbers of one process in a dictionary."""

    def __init__(self) -> None:
        self.values: defaultdict[tuple[Metric, tuple[str, ...]], float] = defaultdict(float)
        """By metric and labels; of a histogram, the sum of what was observed."""

    def count(self, counter: Counter, *labels: str) -> None:
        self.values[counter, labels] += 1

    def observe(self, histogram: Histogram, seconds: float, *labels: str) -> None:
        self.values[histogram, labels] += seconds

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        self.values[gauge, labels] = value

    def text(self, readings: Sequence[Reading] = ()) -> bytes:
        values = dict(self.values)
        values |= {(reading.gauge, reading.labels): reading.value for reading in readings}
        lines = [
            f"{metric.name}{_braced(metric.labels, labels)} {value}\n"
            for (metric, labels), value in values.items()
        ]
        return "".join(sorted(lines)).encode()


def _braced(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""
