"""`make faults`: every fault of every server, and the table of `docs/faults.md`."""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.faults import FAULTS, HEAD, RECOVERY, SERVERS, Outcome, Product, product
from tests.faults.servers import own_servers

LONGEST = 2.0


async def _all(directory: Path, servers: Sequence[str], seconds: float) -> list[str]:
    async with (
        own_servers(directory / "servers") as own,
        product(
            own.servers, directory, worker=0, broker_url=own.broker_url, breakable=own.breakable
        ) as running,
    ):
        files, problems = running.open_files(), list[str]()
        print(HEAD, flush=True)  # noqa: T201 - the result
        for server in servers:
            for fault in FAULTS:
                outcome = await running.outcome_of(server, fault, seconds=seconds)
                print(outcome.row(), flush=True)  # noqa: T201
                problems += [f"{server}, {fault}: {what}" for what in _wrong(outcome)]
        try:
            await running.check()
            if running.open_files() > files + 20:
                problems.append(f"{running.open_files()} open files, before: {files}")
        except AssertionError as lost:
            problems.append(str(lost))
        if problems:
            problems += _errors(running)
    return problems


def _wrong(outcome: Outcome) -> Iterator[str]:
    wrong = outcome.wrong(longest=LONGEST)
    slowest = max((answer.seconds for answer in wrong), default=0.0)
    for (action, status, error), count in Counter(
        (answer.action, answer.status, answer.error) for answer in wrong
    ).items():
        yield f"{count} x {action} {status} {error}, up to {slowest:.2f} s"
    if outcome.recovered > RECOVERY:
        yield f"well again after {outcome.recovered:.1f} s"


def _errors(running: Product) -> Iterator[str]:
    """Yield the end of what each process wrote."""
    for process in running.processes:
        yield f"--- {process.directory.name} ---\n{process.said()[-5000:]}"


def main() -> None:
    """Print the table, and what went wrong."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long each fault lasts")
    parser.add_argument("--servers", nargs="*", choices=SERVERS, default=SERVERS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        problems = asyncio.run(_all(Path(directory), given.servers, given.seconds))
    print("\n".join(problems) or "Nothing was lost, and nothing was wrongly allowed.")  # noqa: T201
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
