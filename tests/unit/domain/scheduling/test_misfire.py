"""Which slots run now, which are given up, and where that leaves the schedule."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypedDict, Unpack
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.scheduling.misfire import Due, Misfire, due_slots
from domain.scheduling.schedules import Clocked, Interval, Period, Schedule
from domain.scheduling.slots import Jitter, PeriodicTaskId, message_id
from domain.scheduling.trigger import Trigger
from tests.support.builders import cron
from tests.support.clock import MICROSECOND, MINUTE

MIDNIGHT = datetime(2026, 6, 15, tzinfo=UTC)
A_TASK = PeriodicTaskId(UUID(int=1))
ANOTHER_TASK = PeriodicTaskId(UUID(int=2))
HOURLY = Interval(1, Period.HOURS)


def at(clock: str) -> datetime:
    """Return that time on 15 June 2026."""
    return datetime.fromisoformat(f"2026-06-15 {clock}").replace(tzinfo=UTC)


class Situation(TypedDict, total=False):
    """What may differ from: handled and up since midnight, run once, no grace, no jitter."""

    handled_until: datetime
    up_since: datetime
    misfire: Misfire
    grace: timedelta | None
    jitter: timedelta
    limit: int
    schedule: Schedule


def due(now: datetime, **situation: Unpack[Situation]) -> Due:
    """Return what is due of an hourly task."""
    return due_slots(
        Trigger(schedule=situation.get("schedule", HOURLY), anchor=MIDNIGHT),
        handled_until=situation.get("handled_until", MIDNIGHT),
        now=now,
        up_since=situation.get("up_since", MIDNIGHT),
        misfire=situation.get("misfire", Misfire.RUN_ONCE),
        grace=situation.get("grace"),
        jitter=Jitter(A_TASK, situation.get("jitter", timedelta(0))),
        limit=situation.get("limit", 1000),
    )


# --- a trigger ------------------------------------------------------------------------------------


def test_no_slot_is_before_the_start_or_after_the_end_and_both_are_slots() -> None:
    trigger = Trigger(
        schedule=cron("0 * * * *"), anchor=MIDNIGHT, start_at=at("03:00"), end_at=at("05:00")
    )

    assert list(trigger.between(MIDNIGHT, at("23:00"))) == [at("03:00"), at("04:00"), at("05:00")]


def test_an_interval_begins_at_its_start() -> None:
    trigger = Trigger(schedule=HOURLY, anchor=at("03:20"), start_at=at("03:20"))

    assert list(trigger.between(MIDNIGHT, at("05:00"))) == [at("03:20"), at("04:20")]


def test_slots_are_found_one_by_one_however_many_there_are() -> None:
    trigger = Trigger(schedule=Interval(1, Period.SECONDS), anchor=MIDNIGHT)

    slots = trigger.between(MIDNIGHT, MIDNIGHT + timedelta(days=36_500))

    assert list(islice(slots, 2)) == [at("00:00:01"), at("00:00:02")]


@given(
    text=st.sampled_from(
        ["* * * * *", "*/7 * * * *", "* * 15 * *", "30 2 * * *", "0 0 1 1 *", "* 5 * 6 1"]
    ),
    minutes=st.integers(0, 60 * 24),
)
def test_the_last_slot_is_the_last_of_all_slots(text: str, minutes: int) -> None:
    trigger = Trigger(schedule=cron(text, "America/New_York"), anchor=MIDNIGHT)
    until = MIDNIGHT + timedelta(minutes=minutes)

    slots = [None, *trigger.between(MIDNIGHT, until)]

    assert trigger.last_between(MIDNIGHT, until) == slots[-1]


# --- while a beat is up ---------------------------------------------------------------------------


def test_a_slot_runs_when_its_time_has_come() -> None:
    assert due(at("01:00") - MICROSECOND).slots == ()
    assert due(at("01:00")) == Due(
        slots=(at("01:00"),), handled_until=at("01:00"), next_slot=at("02:00")
    )


def test_a_handled_slot_does_not_run_again() -> None:
    first = due(at("01:00:00.3"))

    second = due(at("01:00:00.4"), handled_until=first.handled_until)

    assert second.slots == ()
    assert second.next_slot == at("02:00")


@pytest.mark.parametrize("misfire", Misfire)
def test_slots_that_pass_between_two_leaders_all_run(misfire: Misfire) -> None:
    """The one that takes over stood by all the time: nothing was missed, under any policy."""
    taken_over_at = at("00:00:15.2")

    answer = due(taken_over_at, misfire=misfire, schedule=Interval(5, Period.SECONDS))

    assert answer.slots == (at("00:00:05"), at("00:00:10"), at("00:00:15"))


def test_a_clock_that_is_set_back_runs_nothing_twice() -> None:
    answer = due(at("00:30"), handled_until=at("03:00"))

    assert answer == Due(slots=(), handled_until=at("03:00"), next_slot=at("04:00"))


def test_a_clock_that_is_set_back_to_before_the_beat_came_up_runs_nothing_early() -> None:
    answer = due(at("01:30"), up_since=at("05:30"))

    assert answer.slots == (at("01:00"),)
    assert answer.next_slot == at("02:00")


# --- after none was up -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misfire", "slots"),
    [
        (Misfire.SKIP, ()),
        (Misfire.RUN_ONCE, (at("05:00"),)),
        (Misfire.RUN_ALL, (at("01:00"), at("02:00"), at("03:00"), at("04:00"), at("05:00"))),
    ],
)
def test_missed_slots_are_skipped_run_once_or_run_in_full(
    misfire: Misfire, slots: tuple[datetime, ...]
) -> None:
    answer = due(at("05:30"), up_since=at("05:30"), misfire=misfire)

    assert answer == Due(slots=slots, handled_until=at("05:30"), next_slot=at("06:00"))


@pytest.mark.parametrize(
    ("misfire", "slots"),
    [
        (Misfire.SKIP, (at("06:00"), at("07:00"))),
        (Misfire.RUN_ONCE, (at("05:00"), at("06:00"), at("07:00"))),
    ],
)
def test_the_policy_is_for_the_time_before_the_beat_came_up(
    misfire: Misfire, slots: tuple[datetime, ...]
) -> None:
    """Up since 05:30, but kept from its work until 07:00, say by the database."""
    assert due(at("07:00"), up_since=at("05:30"), misfire=misfire).slots == slots


def test_a_slot_at_the_very_moment_the_beat_comes_up_is_not_missed() -> None:
    assert due(at("01:00"), up_since=at("01:00"), misfire=Misfire.SKIP).slots == (at("01:00"),)


@pytest.mark.parametrize(
    ("misfire", "grace", "slots"),
    [
        (Misfire.RUN_ALL, timedelta(minutes=90), (at("04:00"), at("05:00"))),
        (Misfire.RUN_ALL, timedelta(minutes=30), (at("05:00"),)),
        (Misfire.RUN_ALL, timedelta(minutes=29), ()),
        (Misfire.RUN_ONCE, timedelta(minutes=90), (at("05:00"),)),
        (Misfire.RUN_ONCE, timedelta(minutes=30), (at("05:00"),)),
        (Misfire.RUN_ONCE, timedelta(minutes=29), ()),
        (Misfire.SKIP, timedelta(days=1), ()),
    ],
)
def test_nothing_runs_that_is_later_than_its_grace(
    misfire: Misfire, grace: timedelta, slots: tuple[datetime, ...]
) -> None:
    answer = due(at("05:30"), up_since=at("05:30"), misfire=misfire, grace=grace)

    assert answer == Due(slots=slots, handled_until=at("05:30"), next_slot=at("06:00"))


def test_grace_counts_while_a_beat_is_up_too() -> None:
    assert due(at("02:10"), grace=timedelta(minutes=15)).slots == (at("02:00"),)


def test_a_missed_instant_runs_late_or_never() -> None:
    missed = Clocked(at("03:00"))

    late = due(at("05:00"), up_since=at("05:00"), schedule=missed)
    never = due(at("05:00"), up_since=at("05:00"), schedule=missed, misfire=Misfire.SKIP)

    assert late.slots == (at("03:00"),)
    assert never.slots == ()
    assert late.next_slot is never.next_slot is None


def test_a_long_backlog_comes_in_portions() -> None:
    first = due(at("05:30"), up_since=at("05:30"), misfire=Misfire.RUN_ALL, limit=2)
    second = due(
        at("05:31"),
        up_since=at("05:30"),
        misfire=Misfire.RUN_ALL,
        limit=9,
        handled_until=first.handled_until,
    )

    assert first.slots == (at("01:00"), at("02:00"))
    assert first.next_slot == at("03:00")
    assert second.slots == (at("03:00"), at("04:00"), at("05:00"))


def test_run_once_after_a_century_does_not_compute_each_of_its_slots() -> None:
    """31 thousand million slots; even one minute of looking would be a minute without a beat."""
    now = MIDNIGHT + timedelta(days=36_500, milliseconds=130)

    answer = due(now, up_since=now, schedule=Interval(100, Period.MILLISECONDS))

    assert answer.slots == (MIDNIGHT + timedelta(days=36_500, milliseconds=100),)


situations = st.fixed_dictionaries(
    {
        "up_since": st.integers(0, 50).map(lambda minutes: at("12:00:30") - minutes * MINUTE),
        "misfire": st.sampled_from(Misfire),
        "grace": st.none() | st.integers(0, 50).map(lambda minutes: minutes * MINUTE),
        "jitter": st.integers(0, 20).map(lambda minutes: minutes * MINUTE),
        "schedule": st.just(cron("* * * * *")),
    }
)


@given(
    situation=situations,
    missing=st.integers(0, 50),
    pauses=st.lists(st.integers(1, 30), max_size=5),
)
def test_however_often_a_beat_polls_no_slot_runs_twice_or_early_and_none_is_forgotten(
    situation: Situation, missing: int, pauses: list[int]
) -> None:
    now = at("12:00:30")
    handled = start = now - missing * MINUTE
    ran: list[datetime] = []
    for pause in [0, *pauses]:
        now += pause * MINUTE
        situation["handled_until"] = handled
        answer = due(now, **situation)
        ran += answer.slots
        handled = answer.handled_until

    jitter = Jitter(A_TASK, situation["jitter"])
    assert ran == sorted(set(ran))
    assert all(start < slot and slot + jitter.delay(slot) <= now for slot in ran)
    if situation["grace"] is None:
        every_minute = Trigger(schedule=situation["schedule"], anchor=MIDNIGHT)
        assert set(every_minute.between(max(start, situation["up_since"]), handled)) <= set(ran)


# --- slots ------------------------------------------------------------------------------------------


def test_a_slot_has_one_message_id_in_every_zone_and_process() -> None:
    slot = at("05:00")

    assert message_id(A_TASK, slot) == UUID("b3a85952-42bc-5c5f-81db-3fb2442f4ce6")
    assert message_id(A_TASK, slot.astimezone(ZoneInfo("Asia/Tokyo"))) == message_id(A_TASK, slot)
    assert message_id(ANOTHER_TASK, slot) != message_id(A_TASK, slot)
    assert message_id(A_TASK, slot + MICROSECOND) != message_id(A_TASK, slot)


def test_jitter_is_random_over_slots_and_tasks_and_the_same_for_every_beat() -> None:
    slots = [MIDNIGHT + timedelta(minutes=n) for n in range(1000)]
    delays = [Jitter(A_TASK, timedelta(seconds=60)).delay(slot) for slot in slots]

    assert delays == [Jitter(A_TASK, timedelta(seconds=60)).delay(slot) for slot in slots]
    assert delays != [Jitter(ANOTHER_TASK, timedelta(seconds=60)).delay(slot) for slot in slots]
    assert timedelta(0) <= min(delays) < timedelta(seconds=1)
    assert timedelta(seconds=59) < max(delays) <= timedelta(seconds=60)


def test_a_slot_waits_for_its_jitter_and_is_not_missed_before_its_jitter_is_over() -> None:
    jitter = timedelta(minutes=50)
    delay = Jitter(A_TASK, jitter).delay(at("01:00"))
    assert delay > MICROSECOND

    early = due(at("01:00") + delay - MICROSECOND, jitter=jitter)
    on_time = due(at("01:00") + delay, jitter=jitter)
    just_up = at("01:00") + jitter
    late = due(just_up, up_since=just_up, jitter=jitter, misfire=Misfire.SKIP)
    too_late = due(
        just_up + MICROSECOND, up_since=just_up + MICROSECOND, jitter=jitter, misfire=Misfire.SKIP
    )

    assert early.slots == ()
    assert early.next_slot == at("01:00")
    assert on_time.slots == late.slots == (at("01:00"),)
    assert too_late.slots == ()


def test_grace_begins_when_the_jitter_is_over() -> None:
    grace, jitter = timedelta(minutes=5), timedelta(minutes=50)

    in_time = due(at("01:55"), grace=grace, jitter=jitter)
    too_late = due(at("01:55") + MICROSECOND, grace=grace, jitter=jitter)

    assert in_time.slots == (at("01:00"),)
    assert too_late.slots == ()
