"""What is measured of a scheduler, the same way for each: it runs in this process, which does nothing else.

The process that asks gives an `Order` in JSON as the argument; the answer is one line of JSON.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from celery import signals

DUE = 1_000
"""So many tasks are due at one instant."""
LONGEST_WAIT = 13.0
"""Seconds after which what is due and not published is given up: more than 20 times what ours may take."""
IDLE = 10.0
"""Seconds in which a beat has nothing to do: two of Celery's longest waits."""


class Scheduler(Protocol):
    """What beat's service does with any scheduler."""

    max_interval: Any

    def tick(self) -> float:
        """Do what is due; return how many seconds the service may sleep."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Contender(Protocol):
    """A scheduler whose tasks live in a database, and how its users change them."""

    def seed(self, tasks: int) -> None:
        """Store tasks, half intervals, half crontabs, none of which is due for hours; in place of all others."""
        ...

    def start(self) -> Scheduler:
        """Return a scheduler that has read everything and is ready to publish."""
        ...

    def change_one(self) -> None:
        """Change the definition of one task and commit."""
        ...

    def refresh(self, scheduler: Any) -> None:  # noqa: ANN401 - each has its own
        """Make the scheduler see what was committed."""
        ...

    def make_due(self, tasks: int, at: datetime) -> None:
        """Store further tasks that are all due at that instant, and every hour after it."""
        ...

    def statements(self) -> int:
        """Return how many SQL statements were sent so far."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """What to measure, and where."""

    tasks: int
    rounds: int
    postgres: str
    broker: str


def order() -> Order:
    """Return what this process was started for."""
    return Order(**json.loads(sys.argv[1]))


def measure(contender: Contender, wanted: Order) -> None:
    """Measure everything and print it."""
    contender.seed(wanted.tasks)
    starts, scheduler = [], None
    for _ in range(wanted.rounds):
        if scheduler is not None:
            scheduler.close()
        seconds, scheduler = _timed(contender.start)
        starts.append(seconds)
    assert scheduler is not None  # noqa: S101 - there is at least one round
    idle = _cpu_of_idling(scheduler)
    refreshes = []
    for _ in range(wanted.rounds):
        contender.change_one()
        refreshes.append(_timed(lambda: contender.refresh(scheduler))[0])
    scheduler.close()
    storms, statements = _storms(contender, wanted.rounds, max(starts))
    answer: dict[str, Any] = {
        "start": statistics.median(starts),
        "idle_cpu": idle,
        "refresh_one": statistics.median(refreshes),
        "lateness_p50": statistics.median(_late(lateness, 50) for lateness in storms),
        "lateness_p99": statistics.median(_late(lateness, 99) for lateness in storms),
        "published": min(len(lateness) for lateness in storms),
        "statements_per_1000": statements * 1000 / max(len(storms[-1]), 1),
        "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(answer))  # noqa: T201 - the answer


def _storms(contender: Contender, rounds: int, start: float) -> tuple[list[list[float]], int]:
    """Let tasks be due at an instant, in each round others.

    Return how late each run was published that was, for each round, and how many statements the last one took.
    """
    scheduler, lead, before = None, 5 + 1.5 * start, 0
    published: dict[str, float] = {}

    def note(headers: dict[str, Any] | None = None, **_: object) -> None:
        published.setdefault((headers or {})["id"], time.time())

    signals.after_task_publish.connect(note)
    storms = []
    for _ in range(rounds):
        at = datetime.now(UTC) + timedelta(seconds=lead)  # noqa: TID251 - a real clock is what is measured
        contender.make_due(DUE, at)
        scheduler = scheduler or contender.start()
        scheduler.tick()
        if datetime.now(UTC) >= at:  # noqa: TID251
            raise RuntimeError("the tasks were due before the scheduler was ready")
        published.clear()
        while (left := at.timestamp() - time.time()) > 0:
            time.sleep(min(max(scheduler.tick() or 0, 0), left, 1))
        before = contender.statements()
        deadline = at.timestamp() + LONGEST_WAIT
        while len(published) < DUE and time.time() < deadline:
            time.sleep(min(max(scheduler.tick() or 0, 0), 1))
        storms.append([moment - at.timestamp() for moment in published.values()])
        lead = 3
    signals.after_task_publish.disconnect(note)
    if scheduler is not None:
        scheduler.close()  # which may record some of the runs
    return storms, contender.statements() - before


def _late(lateness: Sequence[float], percent: int) -> float:
    """Return how late so many percent were at most; what was not published was at least as late as we waited."""
    missing = [LONGEST_WAIT] * (DUE - len(lateness))
    return sorted([*lateness, *missing])[DUE * percent // 100]


def _timed(act: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = act()
    return time.perf_counter() - start, result


def _cpu_of_idling(scheduler: Scheduler) -> float:
    """Return the seconds of CPU that the whole process uses in a second, as Celery's beat runs the scheduler."""
    quick, scheduler.max_interval = scheduler.max_interval, 5.0
    scheduler.tick()  # what the start has left
    began, cpu = time.perf_counter(), time.process_time()
    while (left := began + IDLE - time.perf_counter()) > 0:
        time.sleep(min(max(scheduler.tick() or 0, 0), left))
    spent = (time.process_time() - cpu) / (time.perf_counter() - began)
    scheduler.max_interval = quick
    return spent
