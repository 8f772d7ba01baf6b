"""`LeaderLease` on a `MemoryStore`."""

from dataclasses import replace
from datetime import datetime, timedelta

from adapters.memory.store import MemoryLease, MemoryStore
from application.ports.leader_lease import (
    BeatId,
    BeatReport,
    LeaderLease,
    Leadership,
    SchedulerStatus,
)
from application.ports.system import Clock


class MemoryLeaderLease(LeaderLease):
    """One lease per store."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def now(self) -> datetime:
        return self._clock.now()

    async def lead(
        self, beat: BeatId, *, lease: timedelta, report: BeatReport
    ) -> Leadership | None:
        now, known = self._clock.now(), self._store.lease
        epoch = 1
        if known is not None:
            has_expired = known.leads_until <= now
            if known.beat != beat and not has_expired:
                return None
            epoch = known.epoch + (known.beat != beat or has_expired)
        self._store.lease = MemoryLease(beat, epoch, now + lease, report)
        return Leadership(beat=beat, epoch=epoch)

    async def report_standby(self, beat: BeatId, report: BeatReport) -> None:
        now, known = self._clock.now(), self._store.lease
        if known is None:
            self._store.lease = MemoryLease(beat, 0, now, report)
        elif known.leads_until <= now:
            self._store.lease = replace(known, report=report)

    async def release(self, leadership: Leadership) -> None:
        lease = self._store.lease
        if lease and (lease.beat, lease.epoch) == (leadership.beat, leadership.epoch):
            self._store.lease = replace(lease, leads_until=self._clock.now())
            self._store.notify()

    async def status(self) -> SchedulerStatus:
        lease = self._store.lease
        return SchedulerStatus(
            report=lease.report if lease else None,
            epoch=lease.epoch if lease else 0,
            leads=lease is not None and lease.leads_until > self._clock.now(),
            leads_until=lease.leads_until if lease else None,
            invalid=len(self._store.problems),
        )
