"""Carrying audit entries to the audit log, for every process that records some and runs for long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from application.use_cases.outbox import Interrupted, OutboxRelay, Resumed

_log: structlog.stdlib.BoundLogger = structlog.get_logger("portico.documents")


@asynccontextmanager
async def delivering(relay: OutboxRelay) -> AsyncIterator[None]:
    """Deliver while the block runs, and at its end what is left. Enter it while the stores are open."""
    async with relay.running(_report):
        yield


def _report(fact: Interrupted | Resumed) -> None:
    match fact:
        case Interrupted(error):
            _log.warning("audit entries wait in the outbox", exc_info=error)
        case Resumed():
            _log.info("audit entries are delivered again")
