"""A process that keeps a local stack open: `stack_holder.py DIRECTORY`. Prints its variables, then waits."""

import asyncio
import json
import sys
from pathlib import Path

from local_stack.lock import locked
from local_stack.stack import local_stack


async def main(directory: Path) -> None:
    async with locked(directory) as lock, local_stack(directory, lock) as stack:
        print(json.dumps(stack.variables), flush=True)  # noqa: T201 - read by the test
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
