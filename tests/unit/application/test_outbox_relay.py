"""What the relay logs, and how it stops."""

import asyncio
import logging

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.unit_of_work import MemoryUnitOfWork
from application.outbox_relay import OutboxRelay
from application.use_cases.outbox import DeliverOutbox
from tests.support.audit_log import UnsteadyAuditLog
from tests.support.builders import an_audit_entry


async def test_an_outage_of_the_audit_log_is_one_line_when_it_begins_and_one_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, log, entry = MemoryStore(), UnsteadyAuditLog(), an_audit_entry()
    deliver = DeliverOutbox(lambda: MemoryUnitOfWork(store), log)
    relay = OutboxRelay(deliver, asyncio.Event(), every=0.001, max_pause=0.001)
    async with MemoryUnitOfWork(store) as uow:
        await uow.outbox.add(entry)
        await uow.commit()

    with caplog.at_level(logging.INFO, "portico.outbox"):
        log.is_down = True
        async with relay.running():
            for _ in range(10):
                await log.is_asked()
            log.is_down = False
            await log.has(entry)

    assert caplog.record_tuples == [
        ("portico.outbox", logging.WARNING, "audit entries wait in the outbox"),
        ("portico.outbox", logging.INFO, "audit entries are delivered again"),
    ]


async def test_a_process_does_not_wait_at_its_end_for_an_audit_log_that_was_down() -> None:
    store, log = MemoryStore(), UnsteadyAuditLog()
    deliver = DeliverOutbox(lambda: MemoryUnitOfWork(store), log)
    async with MemoryUnitOfWork(store) as uow:
        await uow.outbox.add(an_audit_entry())
        await uow.commit()

    log.is_down = True
    async with asyncio.timeout(3), OutboxRelay(deliver, asyncio.Event()).running():
        await log.is_asked()
        log.is_frozen = True
