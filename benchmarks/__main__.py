"""`make bench`: measure, and print one table. Progress goes to standard error.

With `--record` the figures also replace those of the same parts and rows in `docs/performance.json`, and the documents
that show them are written anew. A part that fails keeps its old figures; the others are measured all the same.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

from benchmarks import (
    beat,
    callers,
    document,
    guarded,
    lists,
    log_in,
    memory,
    report,
    socket_events,
    start,
    tasks,
)
from benchmarks.servers import servers

_PARTS = {
    "guarded": guarded.measure,
    "callers": callers.measure,
    "lists": lists.measure,
    "start": start.measure,
    "log-in": log_in.measure,
    "socket": socket_events.measure,
    "tasks": tasks.measure,
    "memory": memory.measure,
    "beat": beat.measure,
}
_ROWS = {
    "guarded": {1},
    "callers": {3, 4, 13},
    "lists": {14},
    "start": {15},
    "log-in": {2},
    "socket": {5},
    "tasks": {6, 7},
    "memory": {16},
    "beat": {8, 9, 10, 11, 12, 16},
}
_LONGEST = 900.0
"""Seconds of one part."""


def main() -> None:
    """Measure what the arguments name; exit with 1 if a part failed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*_PARTS, []], help="default: all")
    rows = sorted(set().union(*_ROWS.values()))
    parser.add_argument("--row", type=int, choices=rows, help="only this row of the table")
    parser.add_argument("--rounds", type=int, default=5, help="medians are of so many rounds")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--record", action="store_true", help="write docs/performance.*")
    given = parser.parse_args()
    parts = given.parts or [part for part in _PARTS if given.row in {None, *_ROWS[part]}]
    began = time.monotonic()
    measured, failed = asyncio.run(_measure(parts, given.rounds))
    if given.row is not None:
        measured = {
            part: [figure for figure in figures if figure.row == given.row]
            for part, figures in measured.items()
        }
    figures = sorted(chain.from_iterable(measured.values()), key=lambda figure: figure.row)
    _say(f"in all: {time.monotonic() - began:.0f} s")
    print(report.as_json(figures) if given.json else report.as_table(figures))  # noqa: T201 - the result
    if given.record:
        document.record(measured)
    if failed:
        sys.exit(f"These could not be measured: {', '.join(failed)}.")


async def _measure(
    parts: list[str], rounds: int
) -> tuple[dict[str, list[report.Figure]], list[str]]:
    """Return the figures of each part, and the parts that failed."""
    measured: dict[str, list[report.Figure]] = {}
    failed = []
    for part in parts:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_LONGEST):
                measured[part] = await _measure_alone(part, rounds)
        except Exception as error:  # noqa: BLE001 - the others are measured all the same
            failed.append(part)
            _say(f"{part}: FAILED: {error!r}")
        _say(f"{part}: {time.monotonic() - began:.0f} s")
    return measured, failed


async def _measure_alone(part: str, rounds: int) -> list[report.Figure]:
    """Measure one part with servers of its own: what another left behind would cost memory and vacuuming."""
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as directory:
        async with servers(Path(directory)) as started:
            measured: list[report.Figure] = await _PARTS[part](started, rounds, _say)
            return measured


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


if __name__ == "__main__":
    main()
