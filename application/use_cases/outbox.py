"""The delivery of audit entries from the outbox to the audit log."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from application.ports.audit_log import AuditLog
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.documents import AuditEntry, AuditId
from domain.errors import Unavailable


@dataclass(frozen=True, slots=True)
class DeliverOutbox:
    """Deliver entries from the outbox to the audit log.

    Delivery is at least once: entries are deleted after they were stored, and the log stores a repeated entry once.
    """

    uow: UnitOfWorkFactory
    log: AuditLog
    batch: int = 200

    async def __call__(self) -> int:
        """Return how many were delivered, at most `batch`; raise `Unavailable` and keep them if the log is down.

        If the log refuses an entry for another reason, which is a bug of ours, that entry is kept, all others are
        delivered, and the error of the log is raised.
        """
        async with self.uow() as uow:
            entries = await uow.outbox.take(self.batch)
            if not entries:
                return 0
            refused = await self._append(entries)
            await uow.outbox.remove([entry.id for entry in entries if entry.id not in refused])
            await uow.commit()
        for error in refused.values():
            raise error
        return len(entries)

    async def _append(self, entries: Sequence[AuditEntry]) -> Mapping[AuditId, Exception]:
        """Return the errors of the refused entries."""
        try:
            await self.log.append(entries)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - no error of one entry may hold up the others
            if len(entries) == 1:
                return {entries[0].id: error}
            alone = [await self._append([entry]) for entry in entries]
            return {entry_id: error for each in alone for entry_id, error in each.items()}
        return {}


@dataclass(frozen=True, slots=True)
class DeliverAudit:
    """Deliver the whole outbox at once, for processes that run no relay."""

    deliver: DeliverOutbox

    async def __call__(self) -> int:
        """Return how many entries were delivered; raise what `DeliverOutbox` raises."""
        await self.deliver.log.prepare()
        delivered = 0
        while count := await self.deliver():
            delivered += count
        return delivered


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Delivery fails from now on; the relay keeps trying."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Resumed:
    """Delivery works again; nothing was lost."""


Report: TypeAlias = Callable[[Interrupted | Resumed], None]


@dataclass(frozen=True, slots=True)
class OutboxRelay:
    """Deliver the outbox while this process runs. Any number of processes may run a relay at once.

    An entry is delivered soon after this process recorded it, and within `every` seconds if another process
    recorded it and has died.
    """

    deliver: DeliverOutbox
    recorded: asyncio.Event
    """The event that `RecordAudit` sets."""
    every: float = 1.0
    commit_delay: float = 0.05
    """Seconds to wait for the commit of a recorded entry; entries of that time are delivered together."""
    max_pause: float = 5.0
    """Longest pause in seconds between two attempts while the log or the outbox is down."""
    shutdown_timeout: float = 5.0
    """Seconds for the last delivery of a stopping process. Other processes deliver what remains."""

    @asynccontextmanager
    async def running(self, report: Report) -> AsyncGenerator[None, None]:
        """Deliver while the block runs, and once more at its end; report the start and the end of an outage."""
        stopping = asyncio.Event()
        rounds = asyncio.create_task(self._rounds(stopping, report), name="outbox relay")
        try:
            yield
        finally:
            stopping.set()
            self.recorded.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.shutdown_timeout):
                    await rounds

    async def _rounds(self, stopping: asyncio.Event, report: Report) -> None:
        prepared, failures = False, 0
        while not stopping.is_set():
            try:
                if not prepared:
                    await self.deliver.log.prepare()
                prepared = True
                await self._deliver_all()
            except Exception as error:  # noqa: BLE001 - if the relay died, nothing would be delivered
                if not failures:
                    report(Interrupted(error))
                failures += 1
                await _wait(stopping, self._pause(failures))
            else:
                if failures:
                    report(Resumed())
                failures = 0
                await _wait(self.recorded, self.every)
                if self.recorded.is_set():
                    self.recorded.clear()
                    await _wait(stopping, self.commit_delay)
        with suppress(Exception):
            await self._deliver_all()

    async def _deliver_all(self) -> None:
        while await self.deliver() == self.deliver.batch:
            pass

    def _pause(self, failures: int) -> float:
        longest = min(self.max_pause, 0.1 * 2 ** min(failures, 10))
        return random.uniform(longest / 2, longest)  # noqa: S311 - jitter


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
