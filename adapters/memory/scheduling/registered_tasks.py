"""The tasks that workers know, in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from adapters.memory.store import MemoryOffer, MemoryTable, MemoryTransaction
from application.ports.registered_tasks import OfferedTask, RegisteredTaskRepository
from domain.scheduling.registered_tasks import RegisteredTask

_REMEMBERED = timedelta(days=7)


class MemoryRegisteredTaskRepository(RegisteredTaskRepository):
    """The tasks that workers offer, as one transaction sees them."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._offers: MemoryTable[str, MemoryOffer] = transaction.table(MemoryOffer)
        self._clock = transaction.time

    async def offer(
        self, worker: str, tasks: Sequence[RegisteredTask], *, lasts: timedelta
    ) -> None:
        now = self._clock.now()
        known = self._offers.find(worker)
        since = known.since if known and known.tasks == tuple(tasks) else now
        self._offers.write(worker, MemoryOffer(worker, tuple(tasks), since, now + lasts))
        for old in self._offers.where(lambda offer: offer.expires_at < now - _REMEMBERED):
            self._offers.remove(old.worker)

    async def withdraw(self, worker: str) -> None:
        now = self._clock.now()
        known = self._offers.find(worker)
        if known and known.expires_at > now:
            self._offers.write(worker, replace(known, expires_at=now))

    async def all(self) -> Sequence[OfferedTask]:
        found: dict[str, OfferedTask] = {}
        for offer in self._newest_first():
            for task in offer.tasks:
                is_offered = self._lives(offer)
                if task.name not in found or (is_offered and not found[task.name].is_offered):
                    found[task.name] = OfferedTask(task=task, is_offered=is_offered)
        return [found[name] for name in sorted(found)]

    async def find(self, name: str) -> Sequence[RegisteredTask]:
        offers = self._newest_first()
        living = [offer for offer in offers if self._lives(offer)] or offers
        tasks = [task for offer in living for task in offer.tasks if task.name == name]
        return [task for place, task in enumerate(tasks) if task not in tasks[:place]]

    async def is_empty(self) -> bool:
        return not any(offer.tasks for offer in self._offers.where())

    def _newest_first(self) -> list[MemoryOffer]:
        return sorted(self._offers.where(), key=lambda offer: offer.since, reverse=True)

    def _lives(self, offer: MemoryOffer) -> bool:
        return offer.expires_at > self._clock.now()
