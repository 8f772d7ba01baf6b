"""Time that passes when a test says so."""

from datetime import datetime, timedelta

from application.ports.system import Clock
from tests.support.builders import A_MOMENT

MICROSECOND, SECOND, MINUTE = timedelta(microseconds=1), timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class MovableClock(Clock):
    """Stands still until it is moved."""

    def __init__(self, start: datetime = A_MOMENT) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> None:
        """Let it be `now`."""
        self._now = now

    async def pass_time(self, elapsed: timedelta) -> None:
        """Let `elapsed` pass."""
        self._now += elapsed
