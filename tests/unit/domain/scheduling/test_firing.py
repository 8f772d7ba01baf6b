"""When schedules fire next, above all where the clocks are moved."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from domain.scheduling.crontab import MINUTE, read_field
from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.firing import Sun, next_fire, no_sun
from domain.scheduling.schedules import (
    Clocked,
    Crontab,
    Interval,
    Period,
    Schedule,
    Solar,
    SolarEvent,
)
from domain.scheduling.zones import zone_names
from tests.support.builders import cron
from tests.support.clock import MICROSECOND
from tests.support.crontab_oracle import Oracle, changes, readings

NEW_YORK = "America/New_York"
ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = sorted(zone_names())
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


def fires(
    schedule: Schedule, start: datetime, end: datetime, *, sun: Sun = no_sun
) -> list[datetime]:
    """Return the instants from `start` to `end`, both included, at which `schedule` fires."""
    found: list[datetime] = []
    fire = next_fire(schedule, start - MICROSECOND, anchor=ANCHOR, sun=sun)
    while fire is not None and fire <= end:
        found.append(fire)
        fire = next_fire(schedule, fire, anchor=ANCHOR, sun=sun)
    return found


def on_the_clock(crontab: Crontab, day: str, until: str | None = None) -> list[str]:
    """Return what the clocks of the crontab show when it fires, from the midnight of `day` to that after `until`."""
    start = datetime.fromisoformat(day).replace(tzinfo=crontab.zone)
    end = datetime.fromisoformat(until or day).replace(tzinfo=crontab.zone) + timedelta(days=1)
    found = fires(crontab, start.astimezone(UTC), end.astimezone(UTC) - MICROSECOND)
    return [fire.astimezone(crontab.zone).strftime("%d %H:%M %z") for fire in found]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- crontabs, where clocks change ----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("* * * * *", "2026-06-15 12:00:00", "2026-06-15 12:01:00"),
        ("* * * * *", "2026-06-15 12:00:59.999999", "2026-06-15 12:01:00"),
        ("* * * * *", "2026-06-15 11:59:59.999999", "2026-06-15 12:00:00"),
        ("*/15 * * * *", "2026-06-15 23:45:00", "2026-06-16 00:00:00"),
        ("30 2 * * *", "2026-06-15 02:29:59", "2026-06-15 02:30:00"),
        ("30 2 * * *", "2026-06-15 02:30:00", "2026-06-16 02:30:00"),
        ("0 9 * * mon-fri", "2026-06-12 09:00:00", "2026-06-15 09:00:00"),
        ("0 0 1 * *", "2026-12-31 23:59:59", "2027-01-01 00:00:00"),
        ("0 0 31 * *", "2026-03-31 00:00:00", "2026-05-31 00:00:00"),
        ("0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00:00"),
        ("0 0 29 feb *", "2096-02-29 00:00:00", "2104-02-29 00:00:00"),
        ("0 0 29 2 mon", "2072-02-29 00:00:00", "2112-02-29 00:00:00"),
        ("59 23 31 12 *", "2026-12-31 23:59:00", "2027-12-31 23:59:00"),
        ("0 0 * * 7", "2026-06-15 00:00:00", "2026-06-21 00:00:00"),
        ("0 0 L * *", "2026-02-28 00:00:00", "2026-03-31 00:00:00"),
        ("0 0 l 2 *", "2026-03-01 00:00:00", "2027-02-28 00:00:00"),
        ("0 0 15,L feb *", "2028-02-15 00:00:00", "2028-02-29 00:00:00"),
        ("0 0 L * fri", "2026-01-01 00:00:00", "2026-07-31 00:00:00"),
        ("0 0 30,L feb,apr *", "2026-02-28 00:00:00", "2026-04-30 00:00:00"),
        ("0 22-2 * * *", "2026-06-15 02:00:00", "2026-06-15 22:00:00"),
        ("0 0 * nov-feb *", "2026-02-28 00:00:00", "2026-11-01 00:00:00"),
    ],
)
def test_a_crontab_fires_at_the_next_minute_that_all_its_fields_name(
    text: str, after: str, expected: str
) -> None:
    assert next_fire(cron(text), utc(after), anchor=ANCHOR) == utc(expected)


def test_a_day_must_suit_the_month_and_the_week() -> None:
    """Celery's reading, not that of crontab(5), which would add every Monday to the first seven days."""
    first_mondays = cron("0 6 1-7 * mon")

    assert on_the_clock(first_mondays, "2026-06-01", "2026-08-31") == [
        "01 06:00 +0000",
        "06 06:00 +0000",
        "03 06:00 +0000",
    ]


def test_a_crontab_is_read_on_the_clocks_of_its_own_zone() -> None:
    fire = next_fire(cron("0 9 * * *", "Asia/Kathmandu"), utc("2026-06-15"), anchor=ANCHOR)

    assert fire == utc("2026-06-15 03:15")
    assert fire.tzinfo is UTC


def test_the_moment_may_be_given_in_any_zone() -> None:
    after = datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=ZoneInfo(NEW_YORK))

    assert next_fire(cron("*/15 * * * *", NEW_YORK), after, anchor=ANCHOR) == utc(
        "2026-11-01 06:45"
    )


def crontab_minutes(text: str) -> set[int]:
    """Return the minutes that a crontab names."""
    return set(read_field(MINUTE, text.split(maxsplit=1)[0]))


# --- crontabs, where the clocks are moved -------------------------------------------------------


def test_a_step_fires_in_both_hours_when_an_hour_is_repeated() -> None:
    crontab = cron("*/15 * * * *", NEW_YORK)

    found = [text for text in on_the_clock(crontab, "2026-11-01") if text[3:5] == "01"]

    assert found == [
        *("01 01:00 -0400", "01 01:15 -0400", "01 01:30 -0400", "01 01:45 -0400"),
        *("01 01:00 -0500", "01 01:15 -0500", "01 01:30 -0500", "01 01:45 -0500"),
    ]


@pytest.mark.parametrize("hour", ["*", "*/1", "0-23", "1-23/1", "5,*/1"])
def test_a_wildcard_or_a_step_in_the_hour_fires_in_both_hours(hour: str) -> None:
    found = on_the_clock(cron(f"30 {hour} * * *", NEW_YORK), "2026-11-01")

    assert [text for text in found if " 01:30" in text] == ["01 01:30 -0400", "01 01:30 -0500"]


@pytest.mark.parametrize("hour", ["1", "0-3", "1,2"])
def test_a_fixed_hour_that_is_repeated_fires_the_first_time_only(hour: str) -> None:
    found = on_the_clock(cron(f"0,30 {hour} * * *", NEW_YORK), "2026-11-01")

    assert [text for text in found if " 01:" in text] == ["01 01:00 -0400", "01 01:30 -0400"]


def test_a_fixed_hour_asked_for_within_the_repeated_hour_fires_the_next_day() -> None:
    in_the_second_hour = utc("2026-11-01 06:10")

    fire = next_fire(cron("30 1 * * *", NEW_YORK), in_the_second_hour, anchor=ANCHOR)

    assert fire == utc("2026-11-02 06:30")


def test_a_skipped_time_fires_once_at_the_first_instant_after_the_gap() -> None:
    assert on_the_clock(cron("30 2 * * *", NEW_YORK), "2026-03-07", "2026-03-09") == [
        "07 02:30 -0500",
        "08 03:00 -0400",
        "09 02:30 -0400",
    ]


def test_several_times_in_one_gap_fire_once_together() -> None:
    assert on_the_clock(cron("0,20,40 2 * * *", NEW_YORK), "2026-03-08") == ["08 03:00 -0400"]


def test_a_skipped_time_and_the_time_after_the_gap_are_one_fire() -> None:
    assert on_the_clock(cron("0 2,3 * * *", NEW_YORK), "2026-03-08") == ["08 03:00 -0400"]


def test_every_minute_fires_every_minute_of_a_day_of_23_and_of_25_hours() -> None:
    every_minute = cron("* * * * *", NEW_YORK)

    assert len(on_the_clock(every_minute, "2026-03-08")) == 23 * 60
    assert len(on_the_clock(every_minute, "2026-11-01")) == 25 * 60


@pytest.mark.parametrize("text", ["49 * * * *", "7-59/15 * * * *", "5 */1 * * *", "49 0-23 * * *"])
def test_wildcards_and_steps_make_up_for_nothing_at_any_minute(text: str) -> None:
    """Only a fixed hour that is skipped would be missed for a day; the next hour comes in any case (Vixie cron)."""
    crontab = cron(text, NEW_YORK)
    gap_ends_at = utc("2026-03-08 07:00")

    around = fires(crontab, gap_ends_at - timedelta(hours=1), gap_ends_at + timedelta(hours=1))

    assert gap_ends_at not in around
    assert {fire.minute for fire in around} == crontab_minutes(text)


def test_a_step_whose_only_time_of_the_year_is_always_skipped_never_fires() -> None:
    each_spring = cron("30 2-2/1 8-14 3 sun", NEW_YORK)

    assert next_fire(each_spring, ANCHOR, anchor=ANCHOR) is None


def test_lord_howe_moves_its_clocks_by_half_an_hour() -> None:
    crontab = cron("*/20 1-2 * * *", "Australia/Lord_Howe")
    both = cron("*/20 */1 * * *", "Australia/Lord_Howe")

    assert on_the_clock(crontab, "2026-10-04") == [
        *("04 01:00 +1030", "04 01:20 +1030", "04 01:40 +1030"),
        *("04 02:30 +1100", "04 02:40 +1100"),
    ]
    assert on_the_clock(both, "2026-04-05")[3:8] == [
        *("05 01:00 +1100", "05 01:20 +1100", "05 01:40 +1100"),
        *("05 01:40 +1030", "05 02:00 +1030"),
    ]


def test_the_day_that_apia_never_had_fires_at_the_midnight_after_it() -> None:
    """Samoa crossed the date line at the end of 29 December 2011 and went on with the 31st."""
    assert on_the_clock(cron("0 8 * * *", "Pacific/Apia"), "2011-12-29", "2011-12-31") == [
        "29 08:00 -1000",
        "31 00:00 +1400",
        "31 08:00 +1400",
    ]
    assert on_the_clock(cron("0 8 30 12 *", "Pacific/Apia"), "2011-12-01", "2012-12-31") == [
        "31 00:00 +1400",
        "30 08:00 +1400",
    ]


def test_of_a_day_that_came_twice_a_fixed_hour_fires_the_first_time_only() -> None:
    """Samoa crossed the date line the other way in 1892, and had two 4ths of July."""
    daily = cron("0 8 * * *", "Pacific/Apia")
    hourly = cron("0 */8 * * *", "Pacific/Apia")

    assert [text[:8] for text in on_the_clock(daily, "1892-07-03", "1892-07-05")] == [
        "03 08:00",
        "04 08:00",
        "05 08:00",
    ]
    assert [text[:8] for text in on_the_clock(hourly, "1892-07-04")] == [
        *("04 00:00", "04 08:00", "04 16:00"),
        *("04 00:00", "04 08:00", "04 16:00"),
    ]


def test_troll_moves_its_clocks_by_two_hours() -> None:
    assert on_the_clock(cron("30 1,2 * * *", "Antarctica/Troll"), "2025-03-30") == [
        "30 03:00 +0200"
    ]
    assert on_the_clock(cron("30 1,2 * * *", "Antarctica/Troll"), "2025-10-26") == [
        "26 01:30 +0200",
        "26 02:30 +0200",
    ]
    assert on_the_clock(cron("30 1-2/1 * * *", "Antarctica/Troll"), "2025-10-26") == [
        "26 01:30 +0200",
        "26 02:30 +0200",
        "26 01:30 +0000",
        "26 02:30 +0000",
    ]


def test_morocco_moves_its_clocks_back_for_ramadan_and_forward_after_it() -> None:
    monthly = cron("30 2 23,6 2,4 *", "Africa/Casablanca")

    assert on_the_clock(monthly, "2025-01-01", "2025-12-31") == [
        *("06 02:30 +0100", "23 02:30 +0100"),
        *("06 03:00 +0100", "23 02:30 +0100"),
    ]


def test_offsets_of_local_mean_time_have_seconds() -> None:
    """New York went from -4:56:02 to -5:00 at noon of 18 November 1883, and so had four minutes twice."""
    found = fires(cron("0 12 * * *", NEW_YORK), utc("1883-11-17"), utc("1883-11-20"))

    assert found == [
        utc("1883-11-17 16:56:02"),
        utc("1883-11-18 16:56:02"),
        utc("1883-11-19 17:00"),
    ]


def test_a_gap_may_end_between_two_minutes() -> None:
    """Liberia gave up its 44 and a half minutes in 1972, the last country with such an offset."""
    found = fires(cron("0,30,50 0 * * *", "Africa/Monrovia"), utc("1972-01-07"), utc("1972-01-08"))

    assert found == [utc("1972-01-07 00:44:30"), utc("1972-01-07 00:50"), utc("1972-01-08")]


# --- against the oracle -------------------------------------------------------------------------


@st.composite
def changes_of_clocks(draw: st.DrawFn) -> tuple[str, datetime]:
    """Draw a zone of the database and an instant at which its clocks are moved, if they ever are."""
    name = draw(st.sampled_from(ZONES))
    year = draw(st.integers(1975, 2045))
    start = datetime(year, 1, 1, tzinfo=UTC)
    moved = [change.at for change in changes(ZoneInfo(name), start, start + timedelta(days=400))]
    return name, draw(st.sampled_from(moved)) if moved else start


@given(zone_and_change=changes_of_clocks(), text=st.sampled_from(CRONTABS))
def test_around_a_change_of_clocks_a_crontab_fires_at_each_minute_that_matches(
    zone_and_change: tuple[str, datetime], text: str
) -> None:
    zone, change = zone_and_change
    start, end = change - timedelta(hours=8), change + timedelta(hours=8)

    expected = Oracle(text).fires(readings(ZoneInfo(zone), start, end))

    assert fires(cron(text, zone), start, end) == expected


@pytest.mark.parametrize(
    "zone", [NEW_YORK, "Europe/Berlin", "Europe/London", "Australia/Sydney", "Pacific/Auckland"]
)
@pytest.mark.parametrize("hour", ["*", "*/2", "*/3", "1", "2", "3", "1,2", "0,3"])
def test_around_a_change_of_clocks_a_crontab_fires_when_cronsim_says_so(
    zone: str, hour: str
) -> None:
    """Another reading of Vixie's rules, by other people: in zones whose clocks move by an hour, and not at midnight."""
    year = datetime(2027, 1, 1, tzinfo=UTC)
    for change in changes(ZoneInfo(zone), year, year + timedelta(days=365)):
        start, end = change.at - timedelta(hours=8), change.at + timedelta(hours=8)
        for minute in ("0", "5", "49", "7-59/15", "0,20,40"):
            text = f"{minute} {hour} * * *"
            iterator = CronSim(text, (start - timedelta(minutes=1)).astimezone(ZoneInfo(zone)))
            expected: list[datetime] = []
            while not expected or expected[-1] <= end:
                expected.append(next(iterator).astimezone(UTC))

            assert fires(cron(text, zone), start, end) == sorted({*expected[:-1]}), text


# --- laws of all schedules ------------------------------------------------------------------------


def _numbers(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    part = st.one_of(st.just("*"), number.map(str), span, span.map(lambda text: f"{text}/2"))
    return st.lists(part, min_size=1, max_size=3).map(",".join)


crontabs = st.builds(
    Crontab,
    minute=_numbers(0, 59),
    hour=_numbers(0, 23),
    day_of_month=_numbers(1, 28),
    month_of_year=_numbers(1, 12),
    day_of_week=_numbers(0, 7),
    timezone=st.sampled_from(ZONES),
)
intervals = st.builds(Interval, st.integers(100, 5_000), st.sampled_from(list(Period)[:-1]))
instants = st.integers(-150 * 366 * 86_400, 200 * 366 * 86_400).map(
    lambda seconds: ANCHOR + timedelta(seconds=seconds)
)


@given(schedule=st.one_of(crontabs, intervals), after=instants, share=st.floats(0, 1))
def test_the_next_fire_is_later_and_the_same_for_every_moment_before_it(
    schedule: Schedule, after: datetime, share: float
) -> None:
    fire = next_fire(schedule, after, anchor=ANCHOR)
    assert fire is not None
    assert fire > after

    between = after + (fire - after) * share
    if between < fire:
        assert next_fire(schedule, between, anchor=ANCHOR) == fire
    following = next_fire(schedule, fire, anchor=ANCHOR)
    assert following is not None
    assert following > fire


# --- intervals --------------------------------------------------------------------------------


def test_an_interval_fires_at_multiples_counted_from_its_anchor() -> None:
    anchor = utc("2026-01-01 00:00:07")
    every_five_minutes = Interval(5, Period.MINUTES)

    assert next_fire(every_five_minutes, anchor, anchor=anchor) == utc("2026-01-01 00:05:07")
    assert next_fire(every_five_minutes, utc("2026-06-15 12:00"), anchor=anchor) == utc(
        "2026-06-15 12:00:07"
    )


def test_an_interval_does_not_drift_however_often_and_late_it_is_asked() -> None:
    moment, slots = ANCHOR, []
    for _ in range(1000):
        fire = next_fire(Interval(100, Period.MILLISECONDS), moment, anchor=ANCHOR)
        assert fire is not None
        slots.append(fire)
        moment = fire + timedelta(milliseconds=37)

    assert {later - earlier for earlier, later in pairwise(slots)} == {timedelta(milliseconds=100)}


def test_an_interval_also_counts_back_from_its_anchor() -> None:
    assert next_fire(Interval(1, Period.WEEKS), utc("2025-12-20"), anchor=ANCHOR) == utc(
        "2025-12-25"
    )


def test_a_day_of_an_interval_is_24_hours_in_any_time_zone() -> None:
    anchor = datetime(2026, 3, 7, 12, tzinfo=ZoneInfo(NEW_YORK))

    fire = next_fire(Interval(1, Period.DAYS), utc("2026-03-08"), anchor=anchor)

    assert fire == utc("2026-03-08 17:00")


# --- solar events and instants --------------------------------------------------------------------

TROMSO = Solar(SolarEvent.SUNRISE, 69.65, 18.96)


def imprecise_sun(*rises: str) -> Sun:
    """Return a sun that rises then, but for some milliseconds that depend on where the search begins."""

    def next_rise(_: Solar, after: datetime) -> datetime | None:
        wobble = timedelta(milliseconds=100 + after.timestamp() % 7)
        return next((utc(rise) + wobble for rise in rises if utc(rise) + wobble > after), None)

    return next_rise


RISES = (
    *("2026-05-17 00:20:11", "2026-05-18 00:03:42", "2026-05-18 23:46:05"),
    *("2026-05-19 23:29:00", "2026-07-25 23:02:59", "2026-07-26 23:21:30"),
)


def test_events_of_the_sun_follow_each_other_even_two_in_one_day_or_none_for_weeks() -> None:
    found = fires(TROMSO, utc("2026-05-17"), utc("2027-01-01"), sun=imprecise_sun(*RISES))

    assert found == [utc(rise) for rise in RISES]


def test_an_event_of_the_sun_has_one_instant_for_all_beats_at_all_times() -> None:
    sun = imprecise_sun(*RISES)

    for earlier, later in pairwise(utc(rise) for rise in RISES):
        moments = (earlier + (later - earlier) * n / 50 for n in range(50))
        assert {next_fire(TROMSO, moment, anchor=ANCHOR, sun=sun) for moment in moments} == {later}


def test_without_astronomy_a_solar_schedule_is_refused() -> None:
    with pytest.raises(InvalidDefinition) as refused:
        next_fire(TROMSO, ANCHOR, anchor=ANCHOR)

    assert refused.value.field == "kind"


def test_an_instant_fires_once() -> None:
    at = utc("2026-06-15 12:00")

    assert next_fire(Clocked(at), at - MICROSECOND, anchor=ANCHOR) == at
    assert next_fire(Clocked(at), at, anchor=ANCHOR) is None


# --- the ends of the calendar ---------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [cron("0 0 29 2 *", NEW_YORK), Interval(5200, Period.WEEKS)])
def test_the_calendar_begins_with_year_1_and_ends_with_year_9998(schedule: Schedule) -> None:
    assert next_fire(schedule, utc("0001-01-01"), anchor=ANCHOR) is not None
    assert next_fire(schedule, utc("9998-12-29"), anchor=ANCHOR) is None
    assert next_fire(schedule, utc("9999-12-31 23:59:59.999999"), anchor=ANCHOR) is None
