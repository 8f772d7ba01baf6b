"""When a schedule fires next. All instants are in UTC; a zone says which wall-clock time they have there."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.schedules import BEGINNING, END, Clocked, Crontab, Interval, Schedule, Solar

Sun = Callable[[Solar, datetime], datetime | None]
"""Astronomy, which the domain leaves to a library: the first event of that kind at that place strictly after an
instant (aware, UTC), or None if there is none within a year."""

RESOLUTION = timedelta(microseconds=1)
"""The shortest time between two instants."""


def no_sun(solar: Solar, _after: datetime) -> datetime | None:
    """Refuse every solar schedule: the stand-in where there is no astronomy."""
    raise InvalidDefinition({"kind": f"cannot be {solar.kind} here: no astronomy is installed"})


def next_fire(
    schedule: Schedule, after: datetime, *, anchor: datetime, sun: Sun = no_sun
) -> datetime | None:
    """Return the first instant strictly after `after` at which `schedule` fires (aware, UTC), or None if it never will.

    `after` and `anchor` are aware. Intervals fire at `anchor` plus each multiple of their length, so that no restart
    moves them. Crontabs follow the clocks of their zone (after Vixie cron). A fixed hour fires once a day: what the
    clocks skip, at the first instant after the gap; what they show twice, the first time only. An hour that is a
    wildcard or has a step fires whenever the clocks show it: not at all, or twice. The calendar ends with year 9998.
    """
    after = after.astimezone(UTC)
    if after >= END:
        return None
    match schedule:
        case Interval():
            return _next_multiple(schedule.length, after, anchor)
        case Crontab():
            return _next_on_the_clock(schedule, max(after, BEGINNING))
        case Solar():
            return _next_event(schedule, after, sun)
        case Clocked():
            return schedule.at if schedule.at > after else None


_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_NO_OFFSET = timedelta(0)
_MOST_GAPS = 100
"""A crontab whose times are skipped by so many gaps in a row (2-2/1 on the second Sunday of March) never fires."""


def _next_multiple(length: timedelta, after: datetime, anchor: datetime) -> datetime | None:
    wait = length - (after - anchor) % length
    return after + wait if wait < END - after else None


def _next_event(solar: Solar, after: datetime, sun: Sun) -> datetime | None:
    # Astronomy is iterative: asked from another instant it answers milliseconds differently, and a slot is its
    # instant. So the events of a day are always computed from its midnight on.
    start = _midnight(after)
    while True:
        event = sun(solar, start)
        if event is None:
            return None
        event = event.astimezone(UTC).replace(microsecond=0)
        if event >= _midnight(start) + _DAY:
            start = _midnight(event)
        elif event > after:
            return event
        else:
            start = event + _HOUR  # well clear of it; no event comes twice within hours


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _next_on_the_clock(crontab: Crontab, after: datetime) -> datetime | None:
    """Find the next minute that the crontab names on its clocks, then the instant at which they show it.

    Clocks that go back only show what they have shown. So later times come first, unless `after` is itself
    within a time that they show twice.
    """
    zone = crontab.zone
    local = after.astimezone(zone)
    shown = local.replace(tzinfo=None, fold=0)
    start = _whole_minute(shown + RESOLUTION)
    before, since = _offsets(zone, shown)
    if before == since:
        wall = crontab.table.next_match(start)
    else:
        change = _change(zone, after - (before - since) * local.fold, within=before - since)
        gone_back_at, gone_back_to = _wall(change, before), _wall(change, since)
        if local.fold and not crontab.repeats:
            start = max(start, _whole_minute(gone_back_at))
        wall = crontab.table.next_match(start)
        if not local.fold and crontab.repeats and (wall is None or wall >= gone_back_at):
            wall = crontab.table.next_match(_whole_minute(gone_back_to))
    for _ in range(_MOST_GAPS):
        if wall is None:
            break
        before, since = _offsets(zone, wall)
        if not (crontab.repeats and before < since):
            return _instant(zone, wall, after)
        # The clocks skip it, and the run is not made up for: go on with the wall-clock time after the gap.
        gap_ends_at = _gap_end(zone, wall, before, since)
        wall = crontab.table.next_match(_whole_minute(_wall(gap_ends_at, since)))
    return None


def _instant(zone: tzinfo, wall: datetime, after: datetime) -> datetime:
    """Return the first instant after `after` at which the clocks show `wall`, or the end of the gap that skips it."""
    before, since = _offsets(zone, wall)
    if before < since:
        return _gap_end(zone, wall, before, since)
    instant = (wall - before).replace(tzinfo=UTC)
    return instant if instant > after else (wall - since).replace(tzinfo=UTC)


def _gap_end(zone: tzinfo, wall: datetime, before: timedelta, since: timedelta) -> datetime:
    """Return the first instant after the gap that skips `wall`."""
    instant = (wall - before).replace(tzinfo=UTC)
    return _change(zone, instant - (since - before), within=since - before)


def _offsets(zone: tzinfo, wall: datetime) -> tuple[timedelta, timedelta]:
    """Return the offsets of `wall` read as before and as since a change (PEP 495); they differ near one only.

    The first is greater where `wall` is shown twice, and less where it is skipped.
    """
    return zone.utcoffset(wall) or _NO_OFFSET, zone.utcoffset(wall.replace(fold=1)) or _NO_OFFSET


def _change(zone: tzinfo, earlier: datetime, *, within: timedelta) -> datetime:
    """Return the first instant after `earlier` with another offset; it is known to come `within` so much."""
    earlier = earlier.replace(microsecond=0)
    offset = earlier.astimezone(zone).utcoffset()
    low, high = 0, within // _SECOND
    while high - low > 1:
        middle = (low + high) // 2
        if (earlier + timedelta(seconds=middle)).astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return earlier + timedelta(seconds=high)


def _wall(instant: datetime, offset: timedelta) -> datetime:
    return (instant + offset).replace(tzinfo=None)


def _whole_minute(wall: datetime) -> datetime:
    """Return the first whole minute not before `wall`."""
    floor = wall.replace(second=0, microsecond=0)
    return floor if floor == wall else floor + _MINUTE
