"""Periodic tasks of the configuration: read as tasks, kept apart from those of the database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.beat import BeatLazyFunc
from celery.schedules import crontab, schedule, solar

from application.scheduler.schedule_queue import ConfiguredTask
from domain.scheduling.json_values import Json
from domain.scheduling.options import PublishingOptions
from domain.scheduling.periodic_tasks import PeriodicTask
from domain.scheduling.schedules import Crontab, Interval, Period, Solar, SolarEvent
from domain.scheduling.task_runs import Run, RunState, run_id
from entrypoints.celery.beat_schedule import configured_id, read_configuration
from entrypoints.celery.publisher import DueEntry, due_entry
from tests.support.builders import A_MOMENT, a_definition, a_periodic_task
from tests.support.clock import MINUTE, SECOND, MovableClock
from tests.support.simulated_beat import Beat, Broker, SharedStore


class HouseSchedule(schedule):
    """Decides for itself."""


def read(entry: dict[str, Any], *, timezone: str = "UTC") -> ConfiguredTask:
    return read_configuration({"configured": {"task": "reports.send", **entry}}, timezone=timezone)[
        0
    ]


def seconds(number: int) -> Interval:
    return Interval(number * 1_000_000, Period.MICROSECONDS)


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (30, seconds(30)),
        (0.5, Interval(500_000, Period.MICROSECONDS)),
        (timedelta(hours=2), seconds(7200)),
        (schedule(timedelta(minutes=5)), seconds(300)),
        (crontab(), Crontab(timezone="Europe/Berlin")),
        (
            crontab(minute="*/15", hour=3, day_of_week="mon-fri", day_of_month=[7, 1]),
            Crontab(
                minute="*/15",
                hour="3",
                day_of_week="mon-fri",
                day_of_month="1,7",
                timezone="Europe/Berlin",
            ),
        ),
        (solar("sunset", -37.8, 144.9), Solar(SolarEvent.SUNSET, -37.8, 144.9)),
    ],
    ids=["seconds", "parts of a second", "timedelta", "schedule", "crontab", "fields", "solar"],
)
def test_schedules_of_celery_are_read(given: object, ours: object) -> None:
    configured = read({"schedule": given}, timezone="Europe/Berlin")

    assert configured.task is not None
    assert configured.task.definition.schedule == ours


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"schedule": HouseSchedule(timedelta(seconds=5))}, "HouseSchedule"),
        ({"schedule": crontab(nowfun=lambda: datetime.now(UTC))}, "nowfun"),  # noqa: TID251
        ({"schedule": 0.05}, "100 milliseconds"),
        ({"schedule": "daily"}, "class"),
        ({"schedule": True}, "class"),
        ({}, "schedule is missing"),
        ({"schedule": 5, "task": ""}, "task"),
    ],
    ids=["own class", "own clock", "nothing", "text", "flag", "missing", "no task"],
)
def test_an_unreadable_entry_is_explained_and_stops_no_other(
    entry: dict[str, Any], problem: str
) -> None:
    broken, good = read_configuration(
        {"broken": {"task": "a", **entry}, "good": {"task": "b", "schedule": 5}}, timezone="UTC"
    )

    assert broken.task is None
    assert problem in (broken.problem or "")
    assert good.task is not None


def a_world(*entries: ConfiguredTask) -> tuple[SharedStore, Broker, Beat]:
    store, broker = SharedStore(MovableClock()), Broker()
    return store, broker, Beat(store, broker, entries)


async def test_intervals_of_the_configuration_count_from_the_epoch_whenever_a_beat_starts() -> None:
    """A restart every 40 seconds moves nothing."""
    store, broker, beat = a_world(read({"schedule": 60}))
    for _ in range(6):
        await beat.live(40, step=5)
        await beat.stop()
        beat = Beat(store, broker, [read({"schedule": 60})])

    assert broker.slots(configured_id("configured")) == [
        A_MOMENT + n * MINUTE for n in (1, 2, 3, 4)
    ]


async def test_a_configured_task_runs_neither_for_the_time_before_its_first_beat_nor_misses_what_comes() -> (
    None
):
    """Its slots begin with the beat that sees it first, and one of a restart right after is owed."""
    store, broker, beat = a_world(read({"schedule": 60}))
    await beat.live(50, step=5)
    await beat.stop()
    assert broker.messages == []

    await store.clock.pass_time(20 * SECOND)
    await Beat(store, broker, [read({"schedule": 60})]).tick()

    assert broker.slots(configured_id("configured")) == [A_MOMENT + MINUTE]


async def test_a_configured_task_wins_over_a_row_of_its_name_which_counts_again_without_it() -> (
    None
):
    store, broker, beat = a_world(read({"schedule": 1}))
    row = a_periodic_task(
        created_at=store.clock.now(), name="configured", schedule=Interval(1, Period.SECONDS)
    )
    store.define(row)

    await beat.live(2)
    await beat.stop()
    assert broker.slots(row.id) == []
    assert len(broker.slots(configured_id("configured"))) == 2

    await Beat(store, broker).live(2)
    assert [slot > A_MOMENT + 2 * SECOND for slot in broker.slots(row.id)].count(True) == 2
    assert len(broker.slots(configured_id("configured"))) == 2, "it is gone with the configuration"


async def test_an_entry_that_cannot_be_read_keeps_the_row_of_its_name_out_and_is_flagged() -> None:
    store, broker, beat = a_world(read({"schedule": HouseSchedule(timedelta(seconds=5))}))
    row = a_periodic_task(
        created_at=store.clock.now(), name="configured", schedule=Interval(1, Period.SECONDS)
    )
    store.define(row)

    await beat.live(2)

    assert broker.messages == []
    assert "HouseSchedule" in store.problems[configured_id("configured")]


# --- messages ---


def message_of(configured: ConfiguredTask) -> DueEntry:
    assert configured.task is not None
    return due_entry(configured.task, configured.message, a_run(configured.task), A_MOMENT)


def a_run(task: PeriodicTask) -> Run:
    return Run(
        id=run_id(task.id, A_MOMENT),
        task_id=task.id,
        scheduled_for=A_MOMENT,
        state=RunState.CLAIMED,
    )


def test_options_of_the_configuration_arrive_but_for_those_that_would_make_the_beat_wait() -> None:
    """Any value that Celery takes, JSON or not. The beat itself tries again, on its own connection."""
    link = object()
    given = {
        "queue": "slow",
        "expires": 12.5,
        "priority": 3,
        "headers": {"tenant": "a"},
        "link": link,
        "my_option": {"x": 1},
    }
    waiting = {
        "retry": True,
        "retry_policy": {"max_retries": 1},
        "timeout": 3600,
        "confirm_timeout": 3600,
        "connection": object(),
        "producer": object(),
    }
    entry = message_of(read({"schedule": 60, "options": given | waiting, "args": (1, link)}))

    assert entry.options | {"headers": None} == given | {
        "retry": False,
        "task_id": entry.options["task_id"],
        "headers": None,
    }
    assert entry.options["headers"] == {
        "tenant": "a",
        "periodic_task": str(configured_id("configured")),
        "scheduled_for": A_MOMENT.isoformat(),
    }
    assert given["headers"] == {"tenant": "a"}
    assert entry.args == (1, link)


def test_functions_of_the_configuration_reach_celery_which_calls_them_for_every_message() -> None:
    now = BeatLazyFunc(lambda: "now")

    entry = message_of(read({"schedule": 60, "kwargs": {"at": now}}))

    assert entry.kwargs == {"at": now}


def test_a_message_is_retried_by_its_beat_and_expires_with_the_next_slot() -> None:
    task = a_periodic_task(task="reports.send", args=(1,), kwargs={"a": 2})

    entry = due_entry(task, None, a_run(task), A_MOMENT)

    assert (entry.task, entry.args, entry.kwargs) == ("reports.send", (1,), {"a": 2})
    assert entry.options["retry"] is False
    assert entry.options["expires"] == A_MOMENT
    assert entry.options["task_id"] == str(a_run(task).id)


def test_the_message_options_of_a_definition_are_published() -> None:
    options: dict[str, Json] = {
        "queue": "slow",
        "priority": 5,
        "expires": 90,
        "headers": {"tenant": "a"},
    }
    task = a_periodic_task()
    task.redefine(a_definition(options=PublishingOptions(options)), at=A_MOMENT)

    entry = due_entry(task, None, a_run(task), A_MOMENT)

    assert entry.options["queue"] == "slow"
    assert entry.options["priority"] == 5
    assert entry.options["expires"] == A_MOMENT, "counted from when it is published"
    assert entry.options["headers"]["tenant"] == "a"
