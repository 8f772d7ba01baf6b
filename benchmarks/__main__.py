"""`make bench`: measure, print one table, or with `--json` one document. Progress goes to standard error."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks import beat, callers, guarded, log_in, report, socket_events, start, tasks
from benchmarks.servers import servers

_PARTS = {
    "guarded": guarded.measure,
    "callers": callers.measure,
    "start": start.measure,
    "log-in": log_in.measure,
    "socket": socket_events.measure,
    "tasks": tasks.measure,
    "beat": beat.measure,
}
_ROWS = {
    "guarded": {1},
    "callers": {3, 4, 13},
    "start": {15},
    "log-in": {2},
    "socket": {5},
    "tasks": {6, 7},
    "beat": {8, 9, 10, 11, 12, 16},
}


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*_PARTS, []], help="default: all")
    parser.add_argument("--row", type=int, help="only this row of the table")
    parser.add_argument("--rounds", type=int, default=5, help="medians are of so many rounds")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    given = parser.parse_args()
    parts = given.parts or [part for part in _PARTS if given.row in {None, *_ROWS[part]}]
    figures = asyncio.run(_measure(parts, given.rounds))
    if given.row is not None:
        figures = [figure for figure in figures if figure.row == given.row]
    print(report.as_json(figures) if given.json else report.as_table(figures))  # noqa: T201 - the result


async def _measure(parts: list[str], rounds: int) -> list[report.Figure]:
    figures: list[report.Figure] = []
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as directory:
        async with servers(Path(directory)) as started:
            for part in parts:
                figures += await _PARTS[part](started, rounds, _say)
    return figures


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


if __name__ == "__main__":
    main()
