"""From PostgreSQL's outbox to MongoDB: nothing is lost and nothing is doubled, even if a process dies on the way.

`python -m tests.integration.test_outbox_delivery` is a process that dies between the two.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from adapters.mongo.audit_log import MongoAuditLog
from adapters.mongo.client import mongo_client
from adapters.postgres.engine import postgres_engine
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from adapters.system import SystemClock, Uuid7Generator
from application.outbox_relay import Interrupted, OutboxRelay, Report, Resumed
from application.ports.unit_of_work import UnitOfWork
from application.settings import MongoSettings, PostgresSettings
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import ClientInfo
from application.use_cases.outbox import DeliverOutbox
from domain.audit_log import AuditEntry, AuditId, parts_of
from tests.support.audit_log import FOREVER, everything_in
from tests.support.mongo import Mongo

CLIENT = ClientInfo(address="192.0.2.1", agent="Firefox", request_id="r-1")
NASTY = {"text": "a\0b\ud800", "number": 2**100, "large": "x" * 1_000_000, "$a.b": {"": [None]}}

PARTS = len(parts_of(NASTY))
"""So many entries does each change make."""


class Process:
    """What a process has: its own connections, its own relay; and what that reported."""

    def __init__(self, postgres_url: str, mongo: MongoSettings, stack: AsyncExitStack) -> None:
        self._engine = postgres_engine(
            PostgresSettings(url=postgres_url, timeout=timedelta(seconds=10))
        )
        client = mongo_client(mongo)
        stack.push_async_callback(self._engine.dispose)
        stack.callback(client.close)
        self.log = MongoAuditLog(client, mongo, FOREVER)
        self.record = RecordAudit(SystemClock(), Uuid7Generator())
        self.deliver = DeliverOutbox(self.uow, self.log)
        self.relay = OutboxRelay(
            self.deliver, self.record.recorded, every=0.2, max_pause=0.5, shutdown_timeout=60
        )
        self.reports: list[Interrupted | Resumed] = []

    def uow(self) -> UnitOfWork:
        return PostgresUnitOfWork(self._engine)

    async def change(self, number: int) -> str:
        """Commit something, and return the target of its entry."""
        target = f"user:{number}"
        async with self.uow() as uow:
            await self.record(uow, "users.created", CLIENT, target=target, details=NASTY)
            await uow.commit()
        return target

    async def waiting(self) -> Sequence[AuditEntry]:
        """Return the entries in the outbox that no relay has taken."""
        async with self.uow() as uow:
            return await uow.outbox.take(100_000)


@asynccontextmanager
async def processes(number: int, url: str, mongo: MongoSettings) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        yield [Process(url, mongo, stack) for _ in range(number)]


@pytest.fixture
def shared(mongo_url: str, mongo_database: str) -> MongoSettings:
    """Return the MongoDB of the test run."""
    return MongoSettings(url=mongo_url, database=mongo_database, timeout=timedelta(seconds=30))


def targets(entries: Sequence[AuditEntry]) -> list[str]:
    return sorted(entry.target for entry in entries)


class Changes:
    """The committed entries, by target; wakes those who wait for a condition."""

    def __init__(self, among: list[Process]) -> None:
        self.targets: list[str] = []
        self._processes = among
        self._numbers = count()
        self._changed = asyncio.Event()

    async def go_on(self, process: Process) -> None:
        """Commit one more."""
        self.targets.append(await process.change(next(self._numbers)))
        self._changed.set()

    def report_of(self, process: Process) -> Report:
        def report(fact: Interrupted | Resumed) -> None:
            process.reports.append(fact)
            self._changed.set()

        return report

    async def more(self, number: int) -> None:
        """Wait until so many more were committed."""
        enough = len(self.targets) + number
        await self._until(lambda: len(self.targets) >= enough)

    async def everybody_is(self, fact: type[Interrupted | Resumed]) -> None:
        """Wait until this was the last report of every process."""
        await self._until(
            lambda: (
                all(isinstance(p.reports[-1], fact) for p in self._processes if p.reports)
                and all(p.reports for p in self._processes)
            )
        )

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await self._changed.wait()
                self._changed.clear()


async def test_mongodb_killed_again_and_again_under_changes_gets_every_entry_exactly_once(
    postgres_url: str, tmp_path: Path
) -> None:
    with Mongo(tmp_path) as server:
        settings = MongoSettings(url=server.url, timeout=timedelta(seconds=2))
        async with processes(2, postgres_url, settings) as two:
            changes = Changes(two)
            is_over = asyncio.Event()

            async def use(process: Process) -> None:
                while not is_over.is_set():
                    await changes.go_on(process)

            async def outages() -> None:
                for _ in range(2):
                    await changes.more(20)
                    await server.kill()
                    await changes.everybody_is(Interrupted)
                    await changes.more(20)
                    await server.start()
                    await changes.everybody_is(Resumed)
                is_over.set()

            async with (
                two[0].relay.running(changes.report_of(two[0])),
                two[1].relay.running(changes.report_of(two[1])),
                asyncio.TaskGroup() as everybody,
            ):
                for work in (use(two[0]), use(two[1]), outages()):
                    everybody.create_task(work)

            assert await two[0].waiting() == []
            assert targets(await everything_in(two[0].log)) == sorted(changes.targets * PARTS)
            for process in two:
                kinds = [type(fact) for fact in process.reports]
                assert kinds == [Interrupted, Resumed] * (len(kinds) // 2)
                assert len(kinds) >= 4


async def test_a_process_killed_after_its_entries_arrived_leaves_them_to_be_delivered_again(
    postgres_url: str, shared: MongoSettings
) -> None:
    async with processes(1, postgres_url, shared) as (survivor,):
        changed = sorted([await survivor.change(number) for number in range(5)] * PARTS)

        killed = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __spec__.name),
            *(postgres_url, shared.url or "", shared.database),
        )
        assert await killed.wait() == -signal.SIGKILL
        assert targets(await everything_in(survivor.log)) == changed

        # The server lets go of the dead process's locks when it notices that the connection is gone.
        async with asyncio.timeout(60):
            while not await survivor.deliver():
                pass
        assert await survivor.waiting() == []
        assert targets(await everything_in(survivor.log)) == changed


async def test_relays_of_several_processes_deliver_every_entry_once(
    postgres_url: str, shared: MongoSettings
) -> None:
    async with processes(4, postgres_url, shared) as four:
        changes = Changes(four)

        async def use(process: Process) -> None:
            for _ in range(50):
                await changes.go_on(process)

        async with AsyncExitStack() as relays:
            for process in four:
                relay = replace(process.relay, deliver=replace(process.deliver, batch=5))
                await relays.enter_async_context(relay.running(changes.report_of(process)))
            await asyncio.gather(*(use(process) for process in four))

        assert await four[0].waiting() == []
        assert targets(await everything_in(four[0].log)) == sorted(changes.targets * PARTS)
        assert [process.reports for process in four] == [[], [], [], []]


async def test_an_entry_of_any_values_arrives_as_it_was_recorded(
    postgres_url: str, shared: MongoSettings
) -> None:
    async with processes(1, postgres_url, shared) as (process,):
        await process.change(1)
        recorded = await process.waiting()
        assert len(recorded) == PARTS > 1
        assert await process.deliver() == PARTS
        assert sorted(await everything_in(process.log), key=_by_id) == sorted(recorded, key=_by_id)


def _by_id(entry: AuditEntry) -> AuditId:
    return entry.id


class FatalAuditLog(MongoAuditLog):
    """Ends its process when everything has arrived and is not yet acknowledged."""

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        await super().append(entries)
        os.kill(os.getpid(), signal.SIGKILL)


async def die(postgres_url: str, mongo: MongoSettings) -> None:
    async with processes(1, postgres_url, mongo) as (process,):
        log = FatalAuditLog(mongo_client(mongo), mongo, FOREVER)
        await replace(process.deliver, log=log)()


if __name__ == "__main__":
    postgres, mongo_url, mongo_database = sys.argv[1:]
    asyncio.run(die(postgres, MongoSettings(url=mongo_url, database=mongo_database)))
