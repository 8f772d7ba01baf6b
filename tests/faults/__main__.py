"""`make faults`: every fault of every server, and the table of `docs/faults.md`."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.faults.faults import FAULTS, HEAD, RECOVERY, SERVERS, product
from tests.support.servers import ServersOfTheRun

LONGEST = 2.0


async def _all(servers: ServersOfTheRun, directory: Path, seconds: float) -> list[str]:
    problems: list[str] = []
    print(HEAD)  # noqa: T201 - the result
    async with product(servers.get(), directory, worker=0) as running:
        files = running.open_files()
        for server in SERVERS:
            for fault in FAULTS:
                outcome = await running.outcome_of(server, fault, seconds=seconds)
                print(outcome.row(), flush=True)  # noqa: T201
                problems += [
                    f"{server}, {fault}: {answer}" for answer in outcome.wrong(longest=LONGEST)
                ]
                if outcome.recovered > RECOVERY:
                    problems.append(
                        f"{server}, {fault}: well again after {outcome.recovered:.1f} s"
                    )
        await running.check()
        if running.open_files() > files + 20:
            problems.append(f"{running.open_files()} open files, before: {files}")
    return problems


def main() -> None:
    """Print the table, and what went wrong."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long each fault lasts")
    given = parser.parse_args()
    servers = ServersOfTheRun()
    try:
        with tempfile.TemporaryDirectory() as directory:
            problems = asyncio.run(_all(servers, Path(directory), given.seconds))
    finally:
        servers.close()
    print("\n".join(problems) or "Nothing was lost, and no disabled user was let in.")  # noqa: T201
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
