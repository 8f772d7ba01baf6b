"""Periodic tasks: what may be said about them, and what pausing, resuming and changing them does."""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.scheduling.errors import InvalidDefinition
from domain.scheduling.firing import no_sun
from domain.scheduling.json_values import Json
from domain.scheduling.misfire import Due, Misfire
from domain.scheduling.options import PublishingOptions
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState
from domain.scheduling.schedules import Clocked, Interval, Period
from tests.support.builders import a_definition, a_periodic_task, cron
from tests.support.clock import HOUR


def at(clock: str) -> datetime:
    """Return that time on 15 June 2026."""
    return datetime.fromisoformat(f"2026-06-15 {clock}").replace(tzinfo=UTC)


def due(
    task: PeriodicTask,
    now: datetime,
    schedule_state: ScheduleState | None = None,
    *,
    up_since: datetime | None = None,
) -> Due:
    """Return what is due to a beat that is up since midnight."""
    return task.due(
        schedule_state or ScheduleState(), now=now, up_since=up_since or at("00:00"), sun=no_sun
    )


# --- definitions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"task": ""}, "task"),
        ({"task": "a\0b"}, "task"),
        ({"description": "x" * 2001}, "description"),
        ({"description": "\0"}, "description"),
        ({"args": "abc"}, "args"),
        ({"args": {"a": 1}}, "args"),
        ({"args": [object()]}, "args"),
        ({"args": [float("nan")]}, "args"),
        ({"args": [2**64]}, "args"),
        ({"args": ["\ud800"]}, "args"),
        ({"kwargs": [1]}, "kwargs"),
        ({"kwargs": {1: 2}}, "kwargs"),
        ({"kwargs": {"a": {"b": ["\0"]}}}, "kwargs"),
        ({"start_at": at("12:00").replace(tzinfo=None)}, "start_at"),
        ({"end_at": at("12:00").replace(tzinfo=None)}, "end_at"),
        ({"start_at": datetime.min.replace(tzinfo=UTC)}, "start_at"),
        ({"end_at": datetime.max.replace(tzinfo=UTC)}, "end_at"),
        ({"start_at": at("12:00"), "end_at": at("11:59")}, "end_at"),
        ({"schedule": Clocked(at("12:00")), "start_at": at("12:01")}, "schedule.at"),
        ({"schedule": Clocked(at("12:00")), "end_at": at("11:00")}, "schedule.at"),
        ({"max_runs": 0}, "max_runs"),
        ({"max_runs": 2**31}, "max_runs"),
        ({"max_running": 0}, "max_running"),
        ({"jitter": timedelta(seconds=-1)}, "jitter"),
        ({"jitter": timedelta(days=1, seconds=1)}, "jitter"),
        ({"misfire_grace": timedelta(seconds=-1)}, "misfire_grace"),
        ({"misfire_grace": timedelta.max}, "misfire_grace"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused_by_field(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        a_definition(**changes)

    assert list(refused.value.problems) == [field]


def test_all_that_is_wrong_with_a_definition_is_said_at_once() -> None:
    with pytest.raises(InvalidDefinition) as refused:
        a_definition(name="", args="no list", max_runs=-1)

    assert refused.value.problems == {
        "name": "must have 1 to 200 characters",
        "args": "must be a list",
        "max_runs": "must be from 1 to 2147483647",
    }


def test_a_definition_like_another_is_as_if_it_was_made_on_its_own() -> None:
    """In lists and dictionaries of its own."""
    original = a_definition(max_runs=3, options=PublishingOptions({"queue": "q"}))
    own: dict[str, Any] = {"name": " other ", "description": "é", "args": [1], "kwargs": {"a": 2}}

    alike = replace(original, **own)

    assert alike == a_definition(max_runs=3, options=PublishingOptions({"queue": "q"}), **own)
    own["kwargs"]["a"] = 3
    assert alike.kwargs == {"a": 2}
    assert original.name != alike.name == "other"


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "two\nlines"), ("description", "\0"), ("args", "none"), ("kwargs", {"a": "\ud800"})],
)
def test_a_definition_like_another_is_checked_in_what_is_its_own(field: str, value: object) -> None:
    own: dict[str, Any] = {"name": "a", "description": "", "args": (), "kwargs": {}, field: value}

    with pytest.raises(InvalidDefinition) as refused:
        replace(a_definition(), **own)

    assert list(refused.value.problems) == [field]


def test_arguments_may_be_any_json() -> None:
    kwargs = {"a": [None, True, 1, 2.5, "x", {"b": []}], "ü": -(2**63)}

    assert a_definition(kwargs=kwargs).kwargs == kwargs


def test_arguments_are_not_nested_without_end() -> None:
    nested: list[Any] = []
    for _ in range(20):
        nested = [nested]

    with pytest.raises(InvalidDefinition, match="is nested more than 20 levels deep"):
        a_definition(args=nested)


def test_start_and_end_are_kept_in_utc() -> None:
    tokyo = cron("* * * * *", "Asia/Tokyo").zone

    assert a_definition(start_at=at("12:00").astimezone(tokyo)).start_at == at("12:00")


# --- publishing options -----------------------------------------------------------------------------


def test_options_are_kept_as_given() -> None:
    given: dict[str, Json] = {"queue": "reports", "expires": 30, "headers": {"x-tenant": "t1"}}

    options = PublishingOptions(given)

    assert options.given == given
    assert options.expires == timedelta(seconds=30)
    assert deepcopy(options) == options


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("expires", 0, "must be a number from 1 to 31622400"),
        ("expires", "2026-06-15T12:00:00Z", "must be a number from 1 to 31622400"),
        ("expires", float("nan"), "must be a number from 1 to 31622400"),
        ("headers", {"x": object()}, "has a value that JSON cannot say"),
        ("x" * 60, "\0", "has a character that cannot be stored"),
    ],
)
def test_an_option_that_cannot_be_stored_or_never_expires_is_named(
    name: str, value: Any, problem: str
) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        PublishingOptions({name: value})

    assert refused.value.problems == {f"options.{name[:50]}": problem}


def test_options_are_an_object() -> None:
    not_an_object: Any = ["queue"]

    with pytest.raises(InvalidDefinition) as refused:
        PublishingOptions(not_an_object)

    assert refused.value.field == "options"


# --- the life of a task -----------------------------------------------------------------------------


def test_a_new_task_owes_no_slot_from_before_it_was_made() -> None:
    task = a_periodic_task(created_at=at("09:30"), start_at=at("01:00"), misfire=Misfire.RUN_ALL)

    answer = due(task, at("09:30"), up_since=at("09:30"))

    assert answer.slots == ()
    assert answer.next_slot == at("10:00")


def test_an_interval_counts_from_its_start_and_else_from_its_making() -> None:
    every_hour = Interval(1, Period.HOURS)

    made = a_periodic_task(created_at=at("09:30"), schedule=every_hour)
    started = a_periodic_task(created_at=at("09:30"), schedule=every_hour, start_at=at("01:10"))
    starting = a_periodic_task(created_at=at("09:30"), schedule=every_hour, start_at=at("11:00"))

    assert due(made, at("09:30")).next_slot == at("10:30")
    assert due(started, at("09:30")).next_slot == at("10:10")
    assert due(starting, at("09:30")).next_slot == at("11:00")


def test_a_restart_every_ten_minutes_neither_starves_nor_moves_an_hourly_interval() -> None:
    task = a_periodic_task(created_at=at("00:00"), schedule=Interval(1, Period.HOURS))
    schedule_state = ScheduleState()
    ran: list[datetime] = []
    for minutes in range(7, 24 * 60, 10):
        restarted_at = at("00:00") + timedelta(minutes=minutes)
        answer = due(task, restarted_at, schedule_state, up_since=restarted_at)
        ran += answer.slots
        schedule_state = ScheduleState(handled_until=answer.handled_until, runs=len(ran))

    assert ran == [at("00:00") + HOUR * n for n in range(1, 24)]


def test_a_paused_task_runs_nothing_and_resumes_with_its_next_slot() -> None:
    task = a_periodic_task(created_at=at("00:00"), misfire=Misfire.RUN_ALL)
    schedule_state = ScheduleState(handled_until=at("02:00"), runs=2)

    task.pause(at=at("02:30"))
    paused = due(task, at("06:30"), schedule_state)
    task.resume(at=at("06:30"))
    resumed = due(task, at("06:30"), schedule_state)

    assert paused == Due(slots=(), handled_until=at("02:00"), next_slot=None)
    assert resumed.slots == ()
    assert resumed.next_slot == at("07:00")
    assert task.updated_at == at("06:30")


def test_a_task_that_resumes_may_catch_up_by_its_policy() -> None:
    task = a_periodic_task(created_at=at("00:00"), misfire=Misfire.RUN_ONCE)
    task.pause(at=at("02:30"))

    task.resume(at=at("06:30"), catch_up=True)

    schedule_state = ScheduleState(handled_until=at("02:00"), runs=2)
    assert due(task, at("06:30"), schedule_state, up_since=at("06:30")).slots == (at("06:00"),)


def test_to_resume_a_task_that_runs_changes_nothing() -> None:
    task = a_periodic_task(created_at=at("00:00"))

    task.resume(at=at("06:30"))

    assert task.enabled_at == task.updated_at == at("00:00")


def test_a_changed_task_goes_on_from_its_last_slot() -> None:
    """The slot of 03:00 passed while the change was being saved: it is late, not lost."""
    task = a_periodic_task(created_at=at("00:00"))
    schedule_state = ScheduleState(handled_until=at("02:00"), runs=2)

    task.redefine(replace(task.definition, schedule=cron("*/30 * * * *")), at=at("03:00:00.2"))

    answer = due(task, at("03:00:00.4"), schedule_state, up_since=at("02:45"))
    assert answer.slots == (at("02:30"), at("03:00"))
    assert answer.next_slot == at("03:30")
    assert task.updated_at == at("03:00:00.2")


def test_a_one_off_task_runs_once() -> None:
    task = a_periodic_task(created_at=at("00:00"), one_off=True, misfire=Misfire.RUN_ALL)

    first = due(task, at("03:10"))
    after_it = due(task, at("04:10"), ScheduleState(handled_until=first.handled_until, runs=1))

    assert first.slots == (at("01:00"),)
    assert first.next_slot is after_it.next_slot is None
    assert after_it.slots == ()


def test_a_task_ends_with_the_last_of_its_runs() -> None:
    task = a_periodic_task(created_at=at("00:00"), max_runs=3)

    assert task.runs_left(ScheduleState(runs=1)) == 2
    assert due(task, at("02:10"), ScheduleState(handled_until=at("01:00"), runs=1)).next_slot == at(
        "03:00"
    )
    assert (
        due(task, at("03:10"), ScheduleState(handled_until=at("02:00"), runs=2)).next_slot is None
    )
    assert due(task, at("04:10"), ScheduleState(handled_until=at("03:00"), runs=3)).slots == ()
    assert task.runs_left(ScheduleState(runs=4)) == 0


def test_without_a_limit_a_task_goes_on() -> None:
    assert a_periodic_task().runs_left(ScheduleState(runs=10**9)) is None


def test_a_message_expires_at_the_next_slot_unless_configured_otherwise() -> None:
    daily = a_periodic_task(created_at=at("00:00"), schedule=cron("0 12 * * *"))
    expiring = a_periodic_task(options=PublishingOptions({"expires": 90}), misfire=Misfire.RUN_ALL)

    assert daily.lifetime(at("12:00"), sun=no_sun) == 24 * HOUR
    assert expiring.lifetime(at("12:00"), sun=no_sun) == timedelta(seconds=90)


def test_a_message_that_must_run_or_has_no_successor_waits_for_ever() -> None:
    every_run = a_periodic_task(misfire=Misfire.RUN_ALL)
    once = a_periodic_task(schedule=Clocked(at("12:00")))

    assert every_run.lifetime(at("12:00"), sun=no_sun) is None
    assert once.lifetime(at("12:00"), sun=no_sun) is None
