"""What a process says about the delivery of its audit entries."""

import asyncio

from structlog.testing import capture_logs

from adapters.memory.store import MemoryStore
from adapters.memory.unit_of_work import MemoryUnitOfWork
from application.use_cases.outbox import DeliverOutbox, OutboxRelay
from entrypoints.delivery import delivering
from tests.fakes.documents import UnsteadyAuditLog, an_entry


async def test_an_outage_of_the_audit_log_is_one_line_when_it_begins_and_one_when_it_ends() -> None:
    store, log, entry = MemoryStore(), UnsteadyAuditLog(), an_entry()
    deliver = DeliverOutbox(lambda: MemoryUnitOfWork(store), log)
    relay = OutboxRelay(deliver, asyncio.Event(), every=0.001, max_pause=0.001)
    async with MemoryUnitOfWork(store) as uow:
        await uow.outbox.add(entry)
        await uow.commit()

    with capture_logs() as lines:
        log.is_down = True
        async with delivering(relay):
            for _ in range(10):
                await log.is_asked()
            log.is_down = False
            await log.has(entry)

    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "audit entries wait in the outbox"),
        ("info", "audit entries are delivered again"),
    ]
