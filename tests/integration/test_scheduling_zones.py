"""Crontabs in every zone of the time zone database, at every minute around the changes of its clocks."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.scheduling.firing import next_fire
from domain.scheduling.schedules import Crontab
from domain.scheduling.zones import zone_names
from tests.support.builders import cron
from tests.support.clock import SECOND
from tests.support.crontab_oracle import Change, Oracle, changes, readings

CRONTABS = [
    "* * * * *",
    "*/15 * * * *",
    "30 * * * *",
    "30 2 * * *",
    "0,45 1-3 * * *",
    "7 */2 * * *",
    "15 0-23/3 * * *",
    "5 0-23 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "30 1 * * 0",
    "0,30 0-4 1-31/2 * *",
    "*/7 1 * 3,10,11 0,6",
    "49 * * * *",
    "7-59/15 * * * *",
    "5 */1 * * *",
    "20,40 0-23 * * *",
]


def fires(crontab: Crontab, start: datetime, end: datetime) -> list[datetime]:
    """Return all fires from `start` to `end`, both included."""
    found: list[datetime] = []
    fire = next_fire(crontab, start - SECOND, anchor=start)
    while fire is not None and fire <= end:
        found.append(fire)
        fire = next_fire(crontab, fire, anchor=start)
    return found


def differences(
    zone: ZoneInfo, moment: datetime, around: timedelta, texts: Iterable[str]
) -> list[str]:
    """Say for which crontabs the domain and a look at each minute disagree from `around` before to after `moment`."""
    start, end = moment - around, moment + around
    read = readings(zone, start, end)
    return [
        f"{text!r} in {zone.key} around {moment}"
        for text in texts
        if fires(cron(text, zone.key), start, end) != Oracle(text).fires(read)
    ]


def test_in_every_zone_crontabs_keep_their_rules_around_the_next_ten_changes() -> None:
    """Zones whose clocks will always agree are one case; so are all those that never change again."""
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2037, 1, 1, tzinfo=UTC)
    cases: dict[tuple[timedelta | None, tuple[Change, ...]], ZoneInfo] = {}
    for name in sorted(zone_names()):
        zone = ZoneInfo(name)
        next_ten = tuple(changes(zone, start, end))[:10]
        cases.setdefault((start.astimezone(zone).utcoffset(), next_ten), zone)

    wrong = [
        difference
        for (_, next_ten), zone in cases.items()
        for moment in [change.at for change in next_ten] or [start]
        for difference in differences(zone, moment, timedelta(hours=12), CRONTABS)
    ]

    assert len(cases) > 50
    assert wrong == []


def test_crontabs_keep_their_rules_around_every_kind_of_change_there_has_been() -> None:
    """By offsets and hour of the day, since 1973: before that, offsets had seconds."""
    start, end = datetime(1973, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    kinds: dict[tuple[object, ...], tuple[ZoneInfo, datetime]] = {}
    for name in sorted(zone_names()):
        zone = ZoneInfo(name)
        for change in changes(zone, start, end):
            kind = (change.before, change.since, change.at.time())
            kinds.setdefault(kind, (zone, change.at))

    wrong = [
        difference
        for zone, moment in kinds.values()
        for difference in differences(zone, moment, timedelta(hours=26), CRONTABS[1:6])
    ]

    assert len(kinds) > 150
    assert wrong == []
