"""Metrics of several processes: exact however they end, in as few files as there are processes at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# A process that counts, sets a gauge, says so, and waits; or that forks first, as the pool of a worker does.
_COUNTING = """
import os, sys
from pathlib import Path
from adapters.observability.metrics import PrometheusMetrics
from application.ports.metrics import Counter, Gauge, Histogram
metrics = PrometheusMetrics(Path(sys.argv[1]))
visits = Counter("visits_total", "Visits.", ("page",))
length = Histogram("length_seconds", "How long.", buckets=(0.1, 1.0))
metrics.count(visits, "/a")
if sys.argv[2] == "fork" and (child := os.fork()):
    print(os.getpid(), child, flush=True)
else:
    for _ in range(1000):
        metrics.count(visits, "/a")
        metrics.observe(length, 0.5)
    metrics.set(Gauge("open", "Open ones."), 5)
    print("done", flush=True)
sys.stdin.read()
"""

_SCRAPING = """
import sys
from pathlib import Path
from adapters.observability.metrics import PrometheusMetrics
sys.stdout.buffer.write(PrometheusMetrics(Path(sys.argv[1])).text())
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return how to start a process that has counted when it is handed out."""
    processes: list[subprocess.Popen[str]] = []

    def start(how: str = "plain") -> "subprocess.Popen[str]":
        process = subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-c", _COUNTING, str(tmp_path), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def scraped(directory: Path) -> dict[str, float]:
    """Return what another process reads."""
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", _SCRAPING, str(directory)],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def has_counted(process: "subprocess.Popen[str]", *, lines: int = 1) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(lines)]


def test_counters_are_exact_after_a_kill_and_gauges_of_the_dead_vanish(
    tmp_path: Path, start: Start
) -> None:
    first, second = start(), start()
    for process in (first, second):
        has_counted(process)
    files = {file.name for file in tmp_path.glob("*.db")}
    assert scraped(tmp_path)["open"] == 10

    first.kill()
    first.wait()
    now = scraped(tmp_path)
    assert now['visits_total{page="/a"}'] == 2002
    assert now["length_seconds_count"] == 2000
    assert now["length_seconds_sum"] == 1000
    assert now["open"] == 5

    third = start()
    has_counted(third)
    for process in (second, third):
        process.kill()
        process.wait()
    last = scraped(tmp_path)
    assert last['visits_total{page="/a"}'] == 3003
    assert "open" not in last
    # The third process went on with the files of the first one.
    assert {file.name for file in tmp_path.glob("*.db")} <= files


def test_a_forked_process_counts_in_files_of_its_own(tmp_path: Path, start: Start) -> None:
    forking = start("fork")
    said = [word for line in has_counted(forking, lines=2) for word in line.split()]
    parent, child = (int(word) for word in said if word != "done")

    assert scraped(tmp_path)['visits_total{page="/a"}'] == 1001
    os.kill(child, signal.SIGKILL)
    os.kill(parent, signal.SIGKILL)
    forking.wait()

    assert scraped(tmp_path)['visits_total{page="/a"}'] == 1001
    assert len({file.stem.rpartition("_")[2] for file in tmp_path.glob("counter_*.db")}) == 2
