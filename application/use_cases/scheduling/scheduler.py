"""The state of the scheduler."""

from dataclasses import dataclass

from application.ports.leader_lease import LeaderLease, SchedulerStatus


@dataclass(frozen=True, slots=True)
class GetSchedulerStatus:
    """Return the leading beat and the state of the scheduler."""

    lease: LeaderLease

    async def __call__(self) -> SchedulerStatus:
        return await self.lease.status()
