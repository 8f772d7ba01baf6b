"""How audit entries get from a unit of work into the audit log, through all that may fail on the way."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.memory.audit_log import MemoryAuditLog
from adapters.memory.store import MemoryStore
from adapters.memory.unit_of_work import MemoryUnitOfWork
from adapters.system import Uuid7Generator
from application.outbox_relay import Interrupted, OutboxRelay, Resumed
from application.ports.audit_log import AuditFilter
from application.ports.unit_of_work import UnitOfWork
from application.use_cases.audit_log import ListAudit, RecordAudit
from application.use_cases.caller import ClientInfo
from application.use_cases.outbox import DeliverOutbox
from domain.audit_log import AuditEntry, AuditId, AuditOutcome
from domain.errors import Unavailable
from tests.support.audit_log import EVERYTHING, UnsteadyAuditLog, everything_in
from tests.support.builders import A_MOMENT, an_audit_entry
from tests.support.clock import MovableClock
from tests.support.sessions import ADA

CLIENT = ClientInfo(address="192.0.2.1", agent="Firefox", request_id="r-1")
NEVER = 3600.0
"""Seconds; longer than any test."""
SOON = 0.001


class OutboxHarness:
    """An outbox, an audit log, a relay, and what it reported."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.log = UnsteadyAuditLog()
        self.reports: list[Interrupted | Resumed] = []
        self.resumed = asyncio.Event()
        self.record = RecordAudit(MovableClock(), Uuid7Generator())
        self.deliver = DeliverOutbox(self.uow, self.log, batch=3)
        self.relay = OutboxRelay(
            self.deliver, self.record.recorded, every=NEVER, commit_delay=SOON, max_pause=SOON
        )

    def uow(self) -> UnitOfWork:
        return MemoryUnitOfWork(self.store)

    @property
    def waiting(self) -> set[AuditId]:
        """Return what is in the outbox."""
        return {*self.store.outbox}

    async def given(self, *entries: AuditEntry) -> None:
        """Leave entries in the outbox as another process would: the relay is not notified."""
        async with self.uow() as uow:
            for entry in entries:
                await uow.outbox.add(entry)
            await uow.commit()

    async def happens(self, action: str) -> AuditEntry:
        """Let a use case note what it does."""
        before = self.waiting
        async with self.uow() as uow:
            await self.record(uow, action, CLIENT)
            await uow.commit()
        (entry_id,) = self.waiting - before
        return self.store.outbox[entry_id]

    def report(self, fact: Interrupted | Resumed) -> None:
        self.reports.append(fact)
        if isinstance(fact, Resumed):
            self.resumed.set()


@pytest.fixture
def harness() -> OutboxHarness:
    return OutboxHarness()


# --- recording ----------------------------------------------------------------------------------


async def test_an_entry_says_who_did_what_from_where_and_when(harness: OutboxHarness) -> None:
    async with harness.uow() as uow:
        await harness.record(
            uow,
            "users.disabled",
            CLIENT,
            actor=ADA,
            target="user:7",
            outcome=AuditOutcome.FAILURE,
            details={"reason": "spam"},
        )
        await uow.commit()
    (entry,) = harness.store.outbox.values()
    assert entry == AuditEntry(
        id=entry.id,
        at=A_MOMENT,
        action="users.disabled",
        outcome=AuditOutcome.FAILURE,
        actor=ADA,
        target="user:7",
        address="192.0.2.1",
        agent="Firefox",
        request_id="r-1",
        details={"reason": "spam"},
    )


async def test_a_change_that_is_rolled_back_leaves_no_entry(harness: OutboxHarness) -> None:
    async with harness.uow() as uow:
        await harness.record(uow, "users.disabled", CLIENT)
    assert not harness.waiting


# --- one delivery -------------------------------------------------------------------------------


async def test_delivered_entries_are_no_longer_in_the_outbox(harness: OutboxHarness) -> None:
    one, two = an_audit_entry(), an_audit_entry(at=A_MOMENT + timedelta(seconds=1))
    await harness.given(one, two)
    assert await harness.deliver() == 2
    assert list(await everything_in(harness.log)) == [two, one]
    assert not harness.waiting
    assert await harness.deliver() == 0


async def test_a_delivery_takes_the_oldest_up_to_its_size(harness: OutboxHarness) -> None:
    entries = [an_audit_entry(at=A_MOMENT + timedelta(seconds=n)) for n in range(5)]
    await harness.given(*entries[::-1])
    assert await harness.deliver() == 3
    assert list(await everything_in(harness.log)) == entries[2::-1]
    assert await harness.deliver() == 2


async def test_while_the_log_is_down_everything_is_kept(harness: OutboxHarness) -> None:
    await harness.given(an_audit_entry(), an_audit_entry())
    harness.log.is_down = True
    with pytest.raises(Unavailable):
        await harness.deliver()
    assert len(harness.waiting) == 2


class Killed(Exception):
    """The process ended here."""


class KilledBeforeItsCommit(MemoryUnitOfWork):
    """The entries have arrived; that they have is forgotten."""

    async def commit(self) -> None:
        raise Killed


async def test_entries_that_arrive_twice_are_stored_once(harness: OutboxHarness) -> None:
    entries = [an_audit_entry(), an_audit_entry()]
    await harness.given(*entries)
    with pytest.raises(Killed):
        await replace(harness.deliver, uow=lambda: KilledBeforeItsCommit(harness.store))()
    assert len(await everything_in(harness.log)) == len(harness.waiting) == 2
    assert await harness.deliver() == 2
    assert len(await everything_in(harness.log)) == 2
    assert not harness.waiting


async def test_an_entry_that_the_log_refuses_holds_no_other_up(harness: OutboxHarness) -> None:
    """It stays, and the error is raised for people to see."""
    entries = [an_audit_entry(at=A_MOMENT + timedelta(seconds=n)) for n in range(6)]
    poison = replace(entries[1], action="poison")
    await harness.given(entries[0], poison, *entries[2:])
    harness.log.refused = {"poison"}
    for _ in range(3):
        with pytest.raises(ValueError, match="poison"):
            await harness.deliver()
    assert list(await everything_in(harness.log)) == [*entries[:1:-1], entries[0]]
    assert harness.waiting == {poison.id}
    harness.log.refused = ()
    assert await harness.deliver() == 1


# --- the relay --------------------------------------------------------------------------------


async def test_entries_of_this_process_are_delivered_without_waiting_for_a_round(
    harness: OutboxHarness,
) -> None:
    async with harness.relay.running(harness.report):
        for action in ("users.created", "users.disabled"):
            await harness.log.has(await harness.happens(action))
    assert not harness.waiting
    assert not harness.reports


async def test_an_entry_recorded_long_before_its_commit_is_delivered_within_a_round(
    harness: OutboxHarness,
) -> None:
    async with replace(harness.relay, every=SOON).running(harness.report), harness.uow() as uow:
        await harness.record(uow, "users.created", CLIENT)
        await asyncio.sleep(10 * SOON)
        await uow.commit()
        await harness.log.has(*harness.store.outbox.values())


async def test_entries_of_another_process_are_delivered_within_a_round(
    harness: OutboxHarness,
) -> None:
    async with replace(harness.relay, every=SOON).running(harness.report):
        for _ in range(3):
            entry = an_audit_entry()
            await harness.given(entry)
            await harness.log.has(entry)


async def test_an_outage_is_reported_when_it_begins_and_when_it_ends_and_loses_nothing(
    harness: OutboxHarness,
) -> None:
    harness.log.is_down = True
    async with harness.relay.running(harness.report):
        entries = [await harness.happens("users.created") for _ in range(7)]
        for _ in range(5):
            await harness.log.is_asked()
        assert [type(fact) for fact in harness.reports] == [Interrupted]
        harness.log.is_down = False
        await harness.log.has(*entries)
        await harness.resumed.wait()
    assert [type(fact) for fact in harness.reports] == [Interrupted, Resumed]
    assert len(await everything_in(harness.log)) == 7
    assert not harness.waiting


async def test_an_outage_at_the_start_does_not_keep_the_process_from_starting(
    harness: OutboxHarness,
) -> None:
    harness.log.is_down = True
    async with harness.relay.running(harness.report):
        await harness.given(an_audit_entry())
        await harness.log.is_asked()
        harness.log.is_down = False
        await harness.resumed.wait()
    assert not harness.waiting


async def test_a_mistake_of_ours_does_not_end_the_relay(harness: OutboxHarness) -> None:
    harness.log.refused = {"poison"}
    async with harness.relay.running(harness.report):
        poison = await harness.happens("poison")
        await harness.log.is_asked()
        entry = await harness.happens("users.created")
        await harness.log.has(entry)
        assert harness.waiting >= {poison.id}
        harness.log.refused = ()
        await harness.log.has(poison)
    (first, *_) = harness.reports
    assert isinstance(first, Interrupted)
    assert isinstance(first.error, ValueError)


async def test_a_process_that_stops_delivers_what_is_left(harness: OutboxHarness) -> None:
    entries = [an_audit_entry() for _ in range(10)]
    async with harness.relay.running(harness.report):
        await harness.given(*entries)
    assert len(await everything_in(harness.log)) == 10
    assert not harness.waiting


async def test_a_process_that_stops_does_not_wait_for_a_log_that_is_frozen(
    harness: OutboxHarness,
) -> None:
    """What is left is kept for whichever process comes next."""
    async with replace(harness.relay, shutdown_timeout=SOON).running(harness.report):
        await harness.given(an_audit_entry())
        harness.log.is_frozen = True
    assert len(harness.waiting) == 1
    harness.log.is_frozen = False
    assert await harness.deliver() == 1


async def test_a_process_that_stops_does_not_wait_for_the_end_of_an_outage(
    harness: OutboxHarness,
) -> None:
    harness.log.is_down = True
    async with replace(harness.relay, max_pause=NEVER, shutdown_timeout=NEVER).running(
        harness.report
    ):
        await harness.happens("users.created")
        await harness.log.is_asked()
    assert len(harness.waiting) == 1


async def test_an_error_in_the_process_stops_the_relay_as_well(harness: OutboxHarness) -> None:
    async def process() -> None:
        async with harness.relay.running(harness.report):
            await harness.given(an_audit_entry())
            raise Killed

    with pytest.raises(Killed):
        await process()
    assert not harness.waiting
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "outbox relay"]


async def test_any_number_of_relays_deliver_every_entry_once(harness: OutboxHarness) -> None:
    relays = [replace(harness.relay, every=SOON) for _ in range(4)]
    entries = [an_audit_entry() for _ in range(100)]
    async with (
        relays[0].running(harness.report),
        relays[1].running(harness.report),
        relays[2].running(harness.report),
        relays[3].running(harness.report),
    ):
        for entry in entries:
            await harness.given(entry)
            await asyncio.sleep(0)
        await harness.log.has(*entries)
    assert len(await everything_in(harness.log)) == 100
    assert not harness.waiting


# --- reading ------------------------------------------------------------------------------------


async def test_the_log_is_read_in_slices(harness: OutboxHarness) -> None:
    old, new = an_audit_entry(), an_audit_entry(at=A_MOMENT + timedelta(seconds=1))
    await harness.log.append([old, new])
    show = ListAudit(harness.log)
    first = await show(EVERYTHING, after=None, limit=1)
    second = await show(EVERYTHING, after=first.next, limit=1)
    assert [*first.records, *second.records] == [new, old]
    assert second.next is None


async def test_in_memory_too_entries_are_forgotten_after_the_time_that_settings_say() -> None:
    clock = MovableClock()
    log = MemoryAuditLog(timedelta(days=30), clock)
    old, young = an_audit_entry(), an_audit_entry(at=A_MOMENT + timedelta(days=1))
    await log.append([old, young])
    await clock.pass_time(timedelta(days=30))
    assert list(await everything_in(log)) == [young]
    assert (await log.find(AuditFilter(action="users."), after=None, limit=9)).next is None
