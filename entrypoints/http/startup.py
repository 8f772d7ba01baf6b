"""What must hold before the first request: every dependency answers, and the schema is current."""

import asyncio
from collections.abc import Sequence

import structlog

from bootstrap import Container

# Half a minute in all: servers that start together with this process are up by then.
PATIENCE = (1.0, 2.0, 4.0, 8.0, 15.0)

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.http")


class StartRefused(RuntimeError):
    """The process cannot do its work; uvicorn ends with exit code 3."""


class DependencyDown(StartRefused):
    """What this process needs did not answer in time."""

    def __init__(self, down: Sequence[str]) -> None:
        super().__init__(
            f"{', '.join(down)} did not answer; is the address right, and the server up?"
        )
        self.down = down


class SchemaNotCurrent(StartRefused):
    """The database has another schema than this code needs."""

    def __init__(self) -> None:
        super().__init__("The database schema is not current; run `portico migrate` first")


async def ready(container: Container, *, patience: Sequence[float] = PATIENCE) -> None:
    """Wait, `patience` seconds after each attempt, until the process can work; raise `StartRefused` if it cannot."""
    for seconds in (*patience, None):
        readiness = await container.check_readiness()()
        if readiness.is_ready:
            break
        if seconds is None:
            _log.error("start refused", down=readiness.down)
            raise DependencyDown(readiness.down)
        _log.warning("waiting for what does not answer", down=readiness.down, seconds=seconds)
        await asyncio.sleep(seconds)
    if not await container.schema().is_current():
        _log.error("start refused", schema="not current")
        raise SchemaNotCurrent
