"""What a process counts and measures, for operators."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True, eq=False)
class Counter:
    """A number that only grows."""

    name: str
    text: str
    """What it tells, for people."""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How long something takes, in seconds: how often it took at most each of `buckets`, and all of it together."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, eq=False)
class Gauge:
    """A number that rises and falls."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    over_processes: Literal["sum", "max"] = "sum"
    """How the values of several processes become one. That of a process that has ended no longer counts."""


Metric: TypeAlias = Counter | Histogram | Gauge


@dataclass(frozen=True, slots=True)
class Reading:
    """A value that was just asked for. It stands in for all that processes have set."""

    gauge: Gauge
    value: float
    labels: tuple[str, ...] = ()


class Metrics(Protocol):
    """The metrics of a process, and of those that it shares them with.

    A call costs about a microsecond and never waits. The values of labels must be few and known beforehand: templates,
    outcomes, names of ours, but never ids, addresses, or what a client sends. What is counted survives the end of a
    process, however it ends, if processes share their metrics.
    """

    def count(self, counter: Counter, *labels: str) -> None:
        """Add one."""
        ...

    def observe(self, histogram: Histogram, seconds: float, *labels: str) -> None:
        """Add one duration."""
        ...

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        """Replace the value that this process has."""
        ...

    def text(self, readings: Sequence[Reading] = ()) -> bytes:
        """Return all values, and `readings`, in the text format of Prometheus. Takes up to 100 ms: use a thread."""
        ...


class Unmeasured(Metrics):
    """Counts nothing: the metrics of a process that serves none."""

    def count(self, counter: Counter, *labels: str) -> None:
        """Do nothing."""

    def observe(self, histogram: Histogram, seconds: float, *labels: str) -> None:
        """Do nothing."""

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        """Do nothing."""

    def text(self, readings: Sequence[Reading] = ()) -> bytes:  # noqa: ARG002 - as the port has it
        """Return nothing."""
        return b""


UNMEASURED = Unmeasured()

Sampled: TypeAlias = Callable[[Metrics], None]
"""Sets gauges to what they are at this moment."""
