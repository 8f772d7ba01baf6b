"""Time that passes when a test says so."""

import re
from datetime import datetime, timedelta

from adapters.redis.client import RedisClient
from application.ports.system import Clock
from tests.fakes.builders import A_MOMENT


class MovableClock(Clock):
    """Stands still until it is moved."""

    def __init__(self, start: datetime = A_MOMENT) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    async def pass_time(self, elapsed: timedelta) -> None:
        """Let `elapsed` pass."""
        self._now += elapsed


class ClockWithRedis(MovableClock):
    """Takes a Redis database along: what a key, or a change of access, has left shrinks by the time that passes."""

    def __init__(self, client: RedisClient) -> None:
        super().__init__()
        self._client = client

    async def pass_time(self, elapsed: timedelta) -> None:
        await super().pass_time(elapsed)
        milliseconds = elapsed // timedelta(milliseconds=1)
        async for key in self._client.scan_iter():
            left = await self._client.pttl(key)
            if left >= 0:
                await self._client.pexpire(key, left - milliseconds)
        changes = await self._client.hget("auth:version", "changes")
        if changes:
            aged = re.sub(
                r"(?m)^\d+", lambda ends_at: str(int(ends_at[0]) - milliseconds), str(changes)
            )
            await self._client.hset("auth:version", "changes", aged)
