"""Which slots run now, and which slots of a time without a beat still run."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain

from domain.scheduling.firing import RESOLUTION
from domain.scheduling.slots import Jitter
from domain.scheduling.trigger import Trigger


class Misfire(StrEnum):
    """Which of the slots run that passed while no beat ran."""

    SKIP = "skip"
    """None of them runs."""
    RUN_ONCE = "run_once"
    """The last of them runs."""
    RUN_ALL = "run_all"
    """All of them run, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The answer for one task at one moment."""

    slots: tuple[datetime, ...]
    """The slots to run now, oldest first."""
    handled_until: datetime
    """Every slot up to here runs or is skipped; the next call starts here."""
    next_slot: datetime | None
    """The first slot that is not handled, or None if there will be none."""


def due_slots(
    trigger: Trigger,
    *,
    handled_until: datetime,
    now: datetime,
    up_since: datetime,
    misfire: Misfire,
    grace: timedelta | None,
    jitter: Jitter,
    limit: int,
) -> Due:
    """Return which slots after `handled_until` are to run at `now`: at most `limit` (one or more) in one answer.

    A slot lasts from its instant to the end of its jitter. A slot that was over before `up_since`, since when a
    beat has been running without a break, was missed: `misfire` decides. All later slots run, so a change of leader
    loses none. No slot runs later than `grace` after its time (None: no limit).
    """
    missed_until = min(up_since, now) - jitter.longest - RESOLUTION
    after = handled_until
    if grace is not None:
        after = max(after, now - jitter.longest - grace - RESOLUTION)
    missed: Iterator[datetime] = iter(())
    if after < missed_until and misfire is not Misfire.RUN_ALL:
        if misfire is Misfire.RUN_ONCE:
            last = trigger.last_between(after, missed_until)
            missed = iter(() if last is None else (last,))
        after = missed_until

    run: list[datetime] = []
    for slot in chain(missed, trigger.between(after, now)):
        if slot + jitter.delay(slot) > now or len(run) == limit:
            return Due(slots=tuple(run), handled_until=slot - RESOLUTION, next_slot=slot)
        run.append(slot)
    handled_until = max(handled_until, now)
    return Due(
        slots=tuple(run),
        handled_until=handled_until,
        next_slot=trigger.next_after(handled_until),
    )
