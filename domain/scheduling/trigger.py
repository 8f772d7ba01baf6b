"""A schedule within its bounds: the slots in which a task is due."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from domain.scheduling.firing import RESOLUTION, Sun, next_fire, no_sun
from domain.scheduling.schedules import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """The instants at which `schedule` fires from `start_at` to `end_at`, both included. All are aware, in UTC.

    Intervals are counted from `anchor`, which is a slot itself if it lies within the bounds.
    """

    schedule: Schedule
    anchor: datetime
    start_at: datetime | None = None
    end_at: datetime | None = None
    sun: Sun = no_sun

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first slot strictly after `moment`, or None if there will be none.

        The answer is the same for every moment before that slot and not before the slot that precedes it.
        """
        if self.start_at is not None and moment < self.start_at:
            moment = self.start_at - RESOLUTION
        slot = next_fire(self.schedule, moment, anchor=self.anchor, sun=self.sun)
        return None if slot is None or (self.end_at is not None and slot > self.end_at) else slot

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the slots after `after` and not after `until`, in order, each computed when it is taken."""
        slot = self.next_after(after)
        while slot is not None and slot <= until:
            yield slot
            slot = self.next_after(slot)

    def last_between(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last slot after `after` and not after `until`; the steps to it grow with their logarithm."""
        found = self.next_after(after)
        if found is None or found > until:
            return None
        beyond = until
        while (following := self.next_after(found)) is not None and following <= until:
            middle = following + (beyond - following) / 2
            leap = self.next_after(middle)
            if leap is None or leap > until:
                found, beyond = following, middle
            else:
                found = leap
        return found
