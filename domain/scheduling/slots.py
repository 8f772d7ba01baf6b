"""A slot is one scheduled time of one task, (task, instant): its message id and its jitter follow from that alone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NewType
from uuid import UUID, uuid5

PeriodicTaskId = NewType("PeriodicTaskId", UUID)


def message_id(task_id: PeriodicTaskId, slot: datetime) -> UUID:
    """Return the id of the message that runs `slot`: the same from every beat, at every attempt (RFC 9562 §5.5)."""
    return uuid5(task_id, slot.astimezone(UTC).isoformat(timespec="microseconds"))


@dataclass(frozen=True, slots=True)
class Jitter:
    """How much later than its slot a task runs, at most `longest`: random over slots and tasks, equal for all beats."""

    task_id: PeriodicTaskId
    longest: timedelta

    def delay(self, slot: datetime) -> timedelta:
        """Return the delay of `slot`, from nothing to `longest`."""
        if not self.longest:
            return self.longest
        # The lower 62 bits of a UUID are all hash: version and variant are above them.
        return self.longest * ((message_id(self.task_id, slot).int % 2**62) / 2**62)
