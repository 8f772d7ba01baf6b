"""Periodic tasks as people handle them: made, changed, paused, asked to run, looked at, removed."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from application.paging import PageRequest
from application.ports.periodic_tasks import PeriodicTaskFilter, ScheduledTask
from application.ports.run_log import Begun, Finished
from application.ports.task_runs import RunFilter
from application.use_cases.caller import Caller
from domain.scheduling.errors import (
    InvalidDefinition,
    PeriodicTaskNameTaken,
    PeriodicTaskNotFound,
    RunNotFound,
    RunNotWaiting,
    UnreadableDefinition,
)
from domain.scheduling.firing import no_sun
from domain.scheduling.json_values import Json
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.registered_tasks import Parameter, RegisteredTask
from domain.scheduling.schedules import Crontab, Interval, Period, Solar
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import RunId, RunState
from tests.support.builders import A_MOMENT, a_user
from tests.support.world import World

NOTHING = PeriodicTaskId(UUID(int=0))
SEND = RegisteredTask(name="reports.send", parameters=(Parameter(name="to"),))
FORGET = RegisteredTask(name="reports.forget")
HOURLY: dict[str, Json] = {
    "name": "hourly",
    "task": "reports.forget",
    "kind": "crontab",
    "schedule": {"minute": "0"},
}


@pytest.fixture
async def caller(world: World) -> Caller:
    ada = await world.given(a_user(is_admin=True))
    return (await world.log_in_as(ada))[0]


async def made(world: World, caller: Caller, **changes: object) -> PeriodicTask:
    seen = await world.container.create_periodic_task()(caller, {**HOURLY, **changes})
    return readable(seen)


def readable(seen: ScheduledTask) -> PeriodicTask:
    task = seen.task
    assert isinstance(task, PeriodicTask)
    return task


async def show(world: World, task_id: PeriodicTaskId) -> ScheduledTask:
    seen: ScheduledTask = await world.container.get_periodic_task()(task_id)
    return seen


async def change(
    world: World, caller: Caller, task_id: PeriodicTaskId, **wanted: object
) -> ScheduledTask:
    seen: ScheduledTask = await world.container.change_periodic_task().change(
        caller, task_id, wanted
    )
    return seen


def given_unreadable(world: World, *, enabled: bool = True) -> PeriodicTaskId:
    """Store what somebody wrote into the table by hand, and what the beat found."""
    now = world.clock.now()
    task = UnreadableTask(
        id=PeriodicTaskId(UUID(int=7)),
        name="by hand",
        stored={**HOURLY, "schedule": {"minute": "1,,2"}},
        reason="schedule.minute must not be empty (part 2 of 3)",
        enabled=enabled,
        enabled_at=now,
        created_at=now,
        updated_at=now,
    )
    world.store.periodic_tasks[task.id] = task
    world.store.problems[task.id] = task.reason
    return task.id


def record_state(world: World, task: PeriodicTask, **schedule_state: Any) -> None:
    """Let the beat have come so far with a task."""
    world.store.schedule_states[task.id] = ScheduleState(**schedule_state)


# --- made ---------------------------------------------------------------------------------------


async def test_a_task_is_what_was_written_and_runs_from_its_next_slot_on(
    world: World, caller: Caller
) -> None:
    task = await made(world, caller, description="Each hour.", max_running=1)

    seen = await show(world, task.id)
    assert task.definition.schedule == Crontab(minute="0")
    assert (task.definition.description, task.definition.max_running) == ("Each hour.", 1)
    assert task.enabled_at == task.created_at == world.clock.now()
    assert seen.next_run_at == world.clock.now() + timedelta(hours=1)
    assert seen.last_slot is None


async def test_a_task_may_be_made_paused(world: World, caller: Caller) -> None:
    task = await made(world, caller, enabled=False)

    assert not task.enabled
    assert (await show(world, task.id)).next_run_at is None


async def test_a_name_is_there_once(world: World, caller: Caller) -> None:
    await made(world, caller)

    with pytest.raises(PeriodicTaskNameTaken):
        await made(world, caller)


async def test_nothing_is_made_of_what_is_wrong(world: World, caller: Caller) -> None:
    with pytest.raises(InvalidDefinition) as raised:
        await made(world, caller, schedule={"minute": "60"}, jitter=-1, enabled="yes")

    assert raised.value.problems.keys() == {"schedule.minute", "jitter", "enabled"}
    assert not world.store.periodic_tasks
    assert "scheduling.task_created" not in {entry.action for entry in world.audit_entries()}


# --- tasks that workers know --------------------------------------------------------------------


async def test_before_any_worker_was_started_every_task_is_believed(
    world: World, caller: Caller
) -> None:
    assert (await made(world, caller, task="nobody.knows")).definition.task == "nobody.knows"


async def test_once_tasks_are_known_no_other_is_scheduled(world: World, caller: Caller) -> None:
    await world.container.offer_tasks()("worker", [SEND, FORGET])

    with pytest.raises(InvalidDefinition) as raised:
        await made(world, caller, task="nobody.knows", max_runs=0)

    assert raised.value.problems.keys() == {"task", "max_runs"}


async def test_arguments_must_suit_the_task(world: World, caller: Caller) -> None:
    await world.container.offer_tasks()("worker", [SEND])

    with pytest.raises(InvalidDefinition) as raised:
        await made(world, caller, task="reports.send", kwargs={"from": "ada"})

    assert raised.value.problems.keys() == {"kwargs", "kwargs.from"}
    await made(world, caller, task="reports.send", kwargs={"to": "ada"})


async def test_the_tasks_of_every_live_worker_are_known(world: World, caller: Caller) -> None:
    """Two workers may have different modules; the last one to start does not hide the tasks of the others."""
    offer = world.container.offer_tasks()
    await offer("one", [SEND])
    await offer("two", [FORGET])

    await made(world, caller, name="a", task="reports.send", args=["ada"])
    await made(world, caller, name="b", task="reports.forget")

    assert [each.task for each in await world.container.list_tasks()()] == [FORGET, SEND]


async def test_while_old_and_new_workers_run_arguments_may_suit_either(
    world: World, caller: Caller
) -> None:
    new = replace(SEND, parameters=(Parameter(name="to"), Parameter(name="how")))
    await world.container.offer_tasks()("old", [SEND])
    await world.pass_time(seconds=1)
    await world.container.offer_tasks()("new", [new])

    await made(world, caller, name="old", task="reports.send", args=["ada"])
    await made(world, caller, name="new", task="reports.send", args=["ada", "soon"])
    with pytest.raises(InvalidDefinition) as raised:
        await made(world, caller, name="neither", task="reports.send")

    assert raised.value.problems == {"kwargs": "lacks to, how, which reports.send needs"}


async def test_a_task_whose_workers_have_ended_is_shown_as_such_and_not_scheduled(
    world: World, caller: Caller
) -> None:
    await world.container.offer_tasks()("gone", [SEND])
    await world.container.offer_tasks()("silent", [RegisteredTask(name="reports.other")])
    await world.pass_time(minutes=2)
    await world.container.offer_tasks()("living", [FORGET])
    await world.container.withdraw_tasks()("gone")
    await world.pass_time(minutes=2)

    offered = {each.task.name: each.is_offered for each in await world.container.list_tasks()()}

    assert offered == {"reports.forget": True, "reports.other": False, "reports.send": False}
    for task in ("reports.send", "reports.other"):
        with pytest.raises(InvalidDefinition, match="task is not a task that a worker offers"):
            await made(world, caller, task=task)


async def test_while_no_worker_lives_what_is_remembered_counts(
    world: World, caller: Caller
) -> None:
    await world.container.offer_tasks()("worker", [SEND])
    await world.pass_time(hours=1)

    await made(world, caller, task="reports.send", args=["ada"])
    with pytest.raises(InvalidDefinition):
        await made(world, caller, name="other", task="reports.forget")


# --- changed ------------------------------------------------------------------------------------


async def test_a_change_leaves_alone_what_it_does_not_name(world: World, caller: Caller) -> None:
    task = await made(world, caller, kwargs={"to": "ada"}, jitter=5)
    await world.pass_time(minutes=1)

    seen = await change(world, caller, task.id, description="Now described.")

    changed = readable(seen).definition
    assert changed.description == "Now described."
    assert (changed.kwargs, changed.jitter) == ({"to": "ada"}, timedelta(seconds=5))
    assert readable(seen).updated_at > task.updated_at


async def test_a_change_of_a_schedule_leaves_its_other_fields_alone(
    world: World, caller: Caller
) -> None:
    """A merge patch (RFC 7396): one field of the schedule does not reset the others, and not the zone."""
    schedule = {"minute": "30", "hour": "9", "day_of_week": "mon-fri", "timezone": "Europe/Berlin"}
    task = await made(world, caller, schedule=schedule)

    later = readable(await change(world, caller, task.id, schedule={"hour": "10"}))
    in_one = readable(await change(world, caller, task.id, schedule="0 6 L * *"))
    reset = readable(await change(world, caller, task.id, schedule={"day_of_month": None}))

    assert later.definition.schedule == Crontab(**{**schedule, "hour": "10"})
    assert in_one.definition.schedule == Crontab(
        minute="0", hour="6", day_of_month="L", timezone="Europe/Berlin"
    )
    assert reset.definition.schedule == Crontab(minute="0", hour="6", timezone="Europe/Berlin")


async def test_options_and_arguments_by_name_are_merged_and_null_resets(
    world: World, caller: Caller
) -> None:
    task = await made(
        world,
        caller,
        options={"queue": "mail", "headers": {"a": "1", "b": "2"}},
        kwargs={"to": "ada", "how": {"soon": True}},
        args=[1, 2],
        jitter=5,
    )

    seen = await change(
        world,
        caller,
        task.id,
        options={"priority": 3, "headers": {"a": None}},
        kwargs={"how": {"late": False}},
        args=[3],
        jitter=None,
    )
    without = await change(world, caller, task.id, options=None)

    changed = readable(seen).definition
    assert changed.options.given == {"queue": "mail", "headers": {"b": "2"}, "priority": 3}
    assert changed.kwargs == {"to": "ada", "how": {"soon": True, "late": False}}
    assert (changed.args, changed.jitter) == ((3,), timedelta(0))
    assert readable(without).definition.options.given == {}
    with pytest.raises(InvalidDefinition) as raised:
        await change(world, caller, task.id, name=None)
    assert [*raised.value.problems] == ["name"]


# --- times that are over ------------------------------------------------------------------------


async def test_an_instant_that_is_over_is_refused_and_a_slow_client_is_not(
    world: World, caller: Caller
) -> None:
    now = world.clock.now()

    def at(seconds: int, **others: object) -> dict[str, object]:
        instant = now + timedelta(seconds=seconds)
        return {"kind": "clocked", "schedule": {"at": instant}, **others}

    for wanted in (at(-60), at(-1, misfire="skip"), at(-11, misfire_grace=10)):
        with pytest.raises(InvalidDefinition) as raised:
            await made(world, caller, name="too late", **wanted)
        assert [*raised.value.problems] == ["schedule.at"]
    task = await made(world, caller, **at(-59))

    assert task.next_run(ScheduleState(), sun=no_sun) == now - timedelta(seconds=59)


async def test_only_times_that_are_new_are_refused_when_they_are_over(
    world: World, caller: Caller
) -> None:
    """An old task can be described anew, and replaced by what it is."""
    now = world.clock.now()
    clocked = {"kind": "clocked", "schedule": {"at": now + timedelta(hours=1)}}
    wanted = {**HOURLY, **clocked, "end_at": now + timedelta(hours=2)}
    task = await made(world, caller, **wanted)
    await world.pass_time(hours=3)

    await change(world, caller, task.id, description="It was once.")
    await world.container.change_periodic_task().replace(caller, task.id, wanted)

    for late in ({"end_at": now + timedelta(hours=2, minutes=59)}, {"schedule": {"at": now}}):
        with pytest.raises(InvalidDefinition, match="is over"):
            await change(world, caller, task.id, **late)


async def test_an_end_that_leaves_no_run_is_refused(world: World, caller: Caller) -> None:
    """It would be accepted, shown as enabled, and never run."""
    now = world.clock.now()
    daily = {"kind": "interval", "schedule": {"every": 1, "period": "days"}}
    soon = {"end_at": now + timedelta(minutes=1)}

    with pytest.raises(InvalidDefinition, match="leaves no run"):
        await made(world, caller, **daily, **soon)
    task = await made(world, caller, **daily, end_at=now + timedelta(days=1))
    with pytest.raises(InvalidDefinition, match="leaves no run"):
        await change(world, caller, task.id, **soon)

    await change(world, caller, task.id, enabled=False)
    await change(world, caller, task.id, **soon)
    await made(world, caller, name="paused", **daily, **soon, enabled=False)


async def test_a_slot_of_now_is_due_for_a_changed_task_unless_the_beat_is_past_it(
    world: World, caller: Caller
) -> None:
    task, recorded = await made(world, caller), await made(world, caller, name="recorded")
    await world.pass_time(hours=1)
    now = world.clock.now()
    record_state(world, recorded, handled_until=now, runs=1)
    wanted = {"kind": "clocked", "schedule": {"at": now - timedelta(seconds=5)}}

    changed = readable(await change(world, caller, task.id, **wanted))

    assert changed.next_run(ScheduleState(), sun=no_sun) == now - timedelta(seconds=5)
    with pytest.raises(InvalidDefinition, match=r"schedule\.at"):
        await change(world, caller, recorded.id, **wanted)


async def test_a_schedule_of_another_kind_is_changed_as_a_whole(
    world: World, caller: Caller
) -> None:
    task = await made(world, caller)
    interval = {"every": 5, "period": "minutes"}

    seen = await change(world, caller, task.id, kind="interval", schedule=interval)

    assert readable(seen).definition.schedule == Interval(5, Period.MINUTES)
    with pytest.raises(InvalidDefinition):
        await change(world, caller, task.id, kind="clocked")


async def test_after_a_change_the_next_slot_follows_the_last_one(
    world: World, caller: Caller
) -> None:
    task = await made(world, caller)
    record_state(world, task, handled_until=world.clock.now() + timedelta(hours=3), runs=3)

    seen = await change(world, caller, task.id, schedule={"minute": "30"})

    assert seen.next_run_at == world.clock.now() + timedelta(hours=3, minutes=30)
    assert seen.schedule_state.runs == 3


async def test_replacing_sets_what_is_left_out_to_its_default(world: World, caller: Caller) -> None:
    task = await made(world, caller, jitter=5, enabled=False)

    seen = await world.container.change_periodic_task().replace(caller, task.id, HOURLY)

    assert readable(seen).definition.jitter == timedelta(0)
    assert readable(seen).enabled


async def test_a_task_whose_code_is_gone_can_be_paused_and_described_but_not_pointed_elsewhere(
    world: World, caller: Caller
) -> None:
    task = await made(world, caller)
    await world.container.offer_tasks()("worker", [SEND])

    assert not readable(await change(world, caller, task.id, enabled=False)).enabled
    await change(world, caller, task.id, description="Its code is gone.")
    with pytest.raises(InvalidDefinition):
        await change(world, caller, task.id, args=[1])


async def test_an_absent_task_is_neither_shown_nor_changed_nor_run(
    world: World, caller: Caller
) -> None:
    container = world.container
    for attempt in (
        container.get_periodic_task()(NOTHING),
        container.change_periodic_task().change(caller, NOTHING, {"enabled": False}),
        container.change_periodic_task().replace(caller, NOTHING, HOURLY),
        container.reset_periodic_task()(caller, NOTHING),
        container.delete_periodic_task()(caller, NOTHING),
        container.run_now()(caller, NOTHING),
        container.list_next_runs()(NOTHING, limit=1),
        container.list_runs()(NOTHING, after=None, limit=1),
    ):
        with pytest.raises(PeriodicTaskNotFound):
            await attempt


# --- reset --------------------------------------------------------------------------------------


async def test_a_task_that_is_over_can_be_reset_and_goes_on_with_its_next_slot(
    world: World, caller: Caller
) -> None:
    task = await made(world, caller, one_off=True)
    await world.pass_time(hours=5)
    record_state(world, task, handled_until=world.clock.now(), runs=1)
    assert (await show(world, task.id)).next_run_at is None

    reset = await world.container.reset_periodic_task()(caller, task.id)

    assert reset == await show(world, task.id)
    assert reset.schedule_state == ScheduleState()
    assert reset.next_run_at == world.clock.now() + timedelta(hours=1)
    assert reset.last_slot is None


async def test_a_task_that_a_wrong_clock_has_handled_for_decades_can_be_reset(
    world: World, caller: Caller
) -> None:
    task = await made(world, caller)
    record_state(world, task, handled_until=world.clock.now() + timedelta(days=29_000), runs=1)

    reset = await world.container.reset_periodic_task()(caller, task.id)

    assert reset.next_run_at == world.clock.now() + timedelta(hours=1)


async def test_an_unreadable_task_can_be_reset(world: World, caller: Caller) -> None:
    task_id = given_unreadable(world)

    await world.container.reset_periodic_task()(caller, task_id)

    seen = await show(world, task_id)
    assert seen.task.reset_at == world.clock.now()


# --- paused and resumed -------------------------------------------------------------------------


async def test_slots_of_a_pause_are_not_due(world: World, caller: Caller) -> None:
    task = await made(world, caller)
    await change(world, caller, task.id, enabled=False)
    await world.pass_time(hours=5)

    seen = await change(world, caller, task.id, enabled=True)

    assert readable(seen).enabled_at == world.clock.now()
    assert seen.next_run_at == world.clock.now() + timedelta(hours=1)


async def test_slots_of_a_pause_are_missed_ones_if_that_is_wanted(
    world: World, caller: Caller
) -> None:
    task = await made(world, caller)
    await change(world, caller, task.id, enabled=False)
    await world.pass_time(hours=5)

    seen = await change(world, caller, task.id, enabled=True, catch_up=True)

    assert readable(seen).enabled_at == task.enabled_at


async def test_catching_up_goes_with_resuming(world: World, caller: Caller) -> None:
    task = await made(world, caller)

    for wanted in ({"catch_up": True}, {"catch_up": True, "enabled": False}, {"catch_up": 1}):
        with pytest.raises(InvalidDefinition) as raised:
            await change(world, caller, task.id, **wanted)
        assert [*raised.value.problems] == ["catch_up"]


# --- what cannot be read ------------------------------------------------------------------------


async def test_an_unreadable_task_is_shown_with_the_reason(world: World) -> None:
    task_id = given_unreadable(world)

    seen = await show(world, task_id)

    assert isinstance(seen.task, UnreadableTask)
    assert "minute" in seen.task.reason
    assert seen.next_run_at is None
    assert await world.container.list_next_runs()(task_id, limit=3) == []


async def test_an_unreadable_task_can_be_paused_corrected_and_replaced(
    world: World, caller: Caller
) -> None:
    task_id = given_unreadable(world)

    paused = await change(world, caller, task_id, enabled=False)
    mended = await change(world, caller, task_id, schedule={"minute": "1,2"})
    replaced = await world.container.change_periodic_task().replace(caller, task_id, HOURLY)

    assert isinstance(paused.task, UnreadableTask)
    assert readable(mended).definition.name == "by hand"
    assert not readable(mended).enabled
    assert readable(replaced).enabled


async def test_an_unreadable_task_cannot_be_run(world: World, caller: Caller) -> None:
    with pytest.raises(UnreadableDefinition, match="by hand"):
        await world.container.run_now()(caller, given_unreadable(world))


# --- removed ------------------------------------------------------------------------------------


async def test_with_a_task_goes_its_history(world: World, caller: Caller) -> None:
    task = await made(world, caller)
    await world.container.run_now()(caller, task.id)

    await world.container.delete_periodic_task()(caller, task.id)

    assert not world.store.periodic_tasks
    assert not world.store.runs


# --- listed -------------------------------------------------------------------------------------


async def test_a_list_is_narrowed_by_each_filter(world: World, caller: Caller) -> None:
    await made(world, caller, name="alpha", description="Sends Ünïcode")
    await made(world, caller, name="beta", task="reports.other", enabled=False)
    interval = {"every": 1, "period": "days"}
    await made(world, caller, name="gamma_50%", kind="interval", schedule=interval)
    given_unreadable(world)

    async def names(**which: Any) -> list[str]:
        found = await world.container.list_periodic_tasks()(
            PeriodicTaskFilter(**which), PageRequest()
        )
        return [seen.task.name for seen in found.records]

    assert await names() == ["alpha", "beta", "by hand", "gamma_50%"]
    assert await names(keyword="ÜNÏ") == ["alpha"]
    assert await names(keyword="_50%") == ["gamma_50%"]
    assert await names(keyword="%") == ["gamma_50%"]
    assert await names(task="reports.other") == ["beta"]
    assert await names(kind="interval") == ["gamma_50%"]
    assert await names(enabled=False) == ["beta"]
    assert await names(invalid=True) == ["by hand"]
    assert await names(invalid=False, enabled=True, kind="crontab") == ["alpha"]


# --- what is to come ----------------------------------------------------------------------------


async def test_the_next_runs_follow_the_handled_slots_and_end_with_the_last(
    world: World, caller: Caller
) -> None:
    now = world.clock.now()
    task = await made(world, caller, max_runs=5)
    record_state(world, task, handled_until=now, runs=3)

    runs = await world.container.list_next_runs()(task.id, limit=10)

    assert runs == [now + timedelta(hours=1), now + timedelta(hours=2)]
    assert (await show(world, task.id)).last_slot is None


async def test_the_last_slot_is_the_latest_handled_one(world: World, caller: Caller) -> None:
    now = world.clock.now()
    task = await made(world, caller)
    record_state(world, task, handled_until=now + timedelta(hours=3, minutes=10), runs=3)

    assert (await show(world, task.id)).last_slot == now + timedelta(hours=3)


async def test_a_preview_needs_no_more_than_a_schedule(world: World) -> None:
    preview = world.container.preview_runs()

    first = datetime(2026, 11, 1, 5, tzinfo=UTC)
    quarters = {"minute": "*/15", "timezone": "America/New_York"}
    runs = await preview(
        {"kind": "crontab", "schedule": quarters, "after": "2026-11-01T04:59:59Z", "count": 9}
    )

    assert runs == [first + timedelta(minutes=15) * n for n in range(9)]
    assert len(await preview({"kind": "crontab", "schedule": {}})) == 10


@pytest.mark.parametrize(("field", "value", "most"), [("one_off", True, 1), ("max_runs", 3, 3)])
async def test_a_preview_tells_no_more_runs_than_there_would_be(
    world: World, field: str, value: object, most: int
) -> None:
    runs = await world.container.preview_runs()({"kind": "crontab", "schedule": {}, field: value})

    assert len(runs) == most


async def test_a_preview_names_all_that_is_wrong(world: World) -> None:
    with pytest.raises(InvalidDefinition) as raised:
        await world.container.preview_runs()(
            {"kind": "crontab", "schedule": {"hour": "x"}, "count": 101, "after": "now", "x": 1}
        )

    assert raised.value.problems.keys() == {"schedule.hour", "count", "after", "x"}


@pytest.mark.parametrize(
    ("schedule", "count"),
    [
        ({"minute": "0", "hour": "0", "day_of_month": "29", "month_of_year": "2"}, 100),
        (
            {
                "minute": "0",
                "hour": "0",
                "day_of_month": "29",
                "month_of_year": "2",
                "day_of_week": "mon",
            },
            100,
        ),
    ],
)
async def test_however_rare_its_runs_a_preview_is_quick(
    world: World, schedule: dict[str, str], count: int
) -> None:
    started = datetime.now(UTC)  # noqa: TID251 - it is the real time that matters

    runs = await world.container.preview_runs()(
        {"kind": "crontab", "schedule": schedule, "count": count}
    )

    assert len(runs) == count
    assert datetime.now(UTC) - started < timedelta(seconds=1)  # noqa: TID251


# --- runs ---------------------------------------------------------------------------------------


async def test_a_requested_run_waits_for_the_beat(world: World, caller: Caller) -> None:
    task = await made(world, caller, enabled=False)

    run = await world.container.run_now()(caller, task.id)

    assert (run.state, run.requested, run.scheduled_for) == (
        RunState.REQUESTED,
        True,
        world.clock.now(),
    )
    assert world.store.runs[run.id] == run


async def test_runs_are_listed_newest_first_and_cursor_by_cursor(
    world: World, caller: Caller
) -> None:
    task = await made(world, caller)
    runs = []
    for _ in range(5):
        runs.append(await world.container.run_now()(caller, task.id))
        await world.pass_time(seconds=1)

    first = await world.container.list_runs()(task.id, after=None, limit=3)
    second = await world.container.list_runs()(task.id, after=first.next, limit=3)

    assert [run.id for run in (*first.records, *second.records)] == [run.id for run in runs[::-1]]
    assert second.next is None


async def test_old_runs_are_pruned_and_those_that_go_on_are_not(
    world: World, caller: Caller
) -> None:
    task = await made(world, caller)
    log = world.container.run_log()
    old, going_on = RunId(UUID(int=1)), RunId(UUID(int=2))
    for run_id in (old, going_on):
        await log.begin(
            Begun(
                run_id=run_id,
                task_id=task.id,
                scheduled_for=world.clock.now(),
                at=world.clock.now(),
                worker="w",
            )
        )
    await log.finish([Finished(run_id=old, at=world.clock.now())])
    await world.pass_time(days=29)
    assert await world.container.prune_runs()() == 0
    await world.pass_time(days=2)
    again, _ = await world.log_in_as(world.store.users[caller.user_id])
    await world.container.run_now()(again, task.id)

    assert await world.container.prune_runs()() == 1
    assert await world.container.prune_runs()() == 0
    assert old not in world.store.runs
    assert going_on in world.store.runs


# --- audit --------------------------------------------------------------------------------------


async def test_every_change_is_recorded_with_its_author(world: World, caller: Caller) -> None:
    task = await made(world, caller, kwargs={"to": "ada"})
    await change(world, caller, task.id, enabled=False, kwargs={"to": "grace"})
    await change(world, caller, task.id, enabled=False)
    await world.container.run_now()(caller, task.id)
    record_state(world, task, handled_until=A_MOMENT, runs=3)
    await world.container.reset_periodic_task()(caller, task.id)
    await world.container.delete_periodic_task()(caller, task.id)

    recorded = [entry for entry in world.audit_entries() if entry.action.startswith("scheduling.")]
    created, changed, requested, reset, deleted = recorded
    assert [entry.action for entry in recorded] == [
        "scheduling.task_created",
        "scheduling.task_changed",
        "scheduling.run_requested",
        "scheduling.task_reset",
        "scheduling.task_deleted",
    ]
    assert {(entry.actor, entry.target) for entry in recorded} == {
        (caller.user_id, f"periodic_task:{task.id}")
    }
    assert changed.details == {"enabled": {"from": True, "to": False}, "kwargs": "changed"}
    assert "kwargs" not in created.details
    assert reset.details == {"name": "hourly", "runs": 3, "handled_until": A_MOMENT.isoformat()}
    assert requested.details["name"] == deleted.details["name"] == "hourly"


@pytest.mark.parametrize(
    ("catch_up", "recorded"), [({"catch_up": True}, {"catch_up": True}), ({"catch_up": False}, {})]
)
async def test_a_request_to_run_missed_slots_is_recorded(
    world: World, caller: Caller, catch_up: dict[str, bool], recorded: dict[str, bool]
) -> None:
    task = await made(world, caller, enabled=False)

    await change(world, caller, task.id, enabled=True, **catch_up)

    assert world.audit_entries()[-1].details == {"enabled": {"from": False, "to": True}, **recorded}


# --- the sun ------------------------------------------------------------------------------------


async def test_others_go_on_while_the_sun_is_computed() -> None:
    threads: set[int] = set()

    def sun(_: Solar, after: datetime) -> datetime:
        threads.add(threading.get_ident())
        evening = after.replace(hour=18, minute=0, second=0, microsecond=0)
        return evening if evening > after else evening + timedelta(days=1)

    world = World(sun=sun)
    ada = await world.given(a_user(is_admin=True))
    caller, _ = await world.log_in_as(ada)
    sunset = {"event": "sunset", "latitude": 52.5, "longitude": 13.4}

    task = await made(world, caller, kind="solar", schedule=sunset)
    await world.container.list_periodic_tasks()(PeriodicTaskFilter(), PageRequest())
    await world.container.list_next_runs()(task.id, limit=3)
    await world.container.preview_runs()({"kind": "solar", "schedule": sunset})

    assert threads
    assert threading.get_ident() not in threads


# --- over all tasks -----------------------------------------------------------------------------


async def test_the_newest_run_is_shown_in_the_list_and_with_its_task(
    world: World, caller: Caller
) -> None:
    task, other = await made(world, caller), await made(world, caller, name="never ran")
    await world.container.run_now()(caller, task.id)
    await world.pass_time(minutes=1)
    newest = await world.container.run_now()(caller, task.id)

    page = await world.container.list_periodic_tasks()(PeriodicTaskFilter(), PageRequest())

    assert {seen.task.id: seen.last_run for seen in page.records} == {
        task.id: newest,
        other.id: None,
    }
    assert (await show(world, task.id)).last_run == newest
    assert (await change(world, caller, task.id, description="new")).last_run == newest


async def test_runs_of_all_tasks_are_listed_with_the_names_of_their_tasks(
    world: World, caller: Caller
) -> None:
    first, second = await made(world, caller), await made(world, caller, name="second")
    await world.container.run_now()(caller, first.id)
    await world.pass_time(minutes=1)
    await world.container.run_now()(caller, second.id)

    found = await world.container.search_runs()(RunFilter(), after=None, limit=10)

    assert [each.task_name for each in found.records] == ["second", "hourly"]


async def test_a_run_that_waits_is_called_off_and_one_that_has_begun_is_not(
    world: World, caller: Caller
) -> None:
    task = await made(world, caller)
    waiting = await world.container.run_now()(caller, task.id)
    begun = await world.container.run_now()(caller, task.id)
    now = world.clock.now()
    await world.container.run_log().begin(
        Begun(run_id=begun.id, task_id=task.id, scheduled_for=now, at=now, worker="w")
    )
    cancel = world.container.cancel_run()

    cancelled = await cancel(caller, waiting.id)

    assert (cancelled.state, cancelled.finished_at) == (RunState.CANCELLED, now)
    for run_id in (begun.id, waiting.id):
        with pytest.raises(RunNotWaiting):
            await cancel(caller, run_id)
    with pytest.raises(RunNotFound):
        await cancel(caller, RunId(NOTHING))
    assert [e.target for e in world.audit_entries() if e.action == "scheduling.run_cancelled"] == [
        f"periodic_task:{task.id}"
    ]


async def test_many_tasks_are_paused_and_resumed_at_once_or_none_of_them(
    world: World, caller: Caller
) -> None:
    tasks = [await made(world, caller, name=f"{n}") for n in range(3)]
    ids = [task.id for task in tasks]
    await change(world, caller, ids[0], enabled=False)
    pause_or_resume = world.container.pause_or_resume_tasks()

    with pytest.raises(PeriodicTaskNotFound):
        await pause_or_resume(caller, [*ids, NOTHING], enabled=False)
    assert (await show(world, ids[1])).task.enabled

    assert await pause_or_resume(caller, [*ids, ids[1]], enabled=False) == 2
    assert [(await show(world, task_id)).task.enabled for task_id in ids] == [False] * 3
    await world.pass_time(hours=1)
    assert await pause_or_resume(caller, ids[:2], enabled=True) == 2
    assert await pause_or_resume(caller, ids, enabled=True, catch_up=True) == 1

    enabled_at = [(await show(world, task_id)).task.enabled_at for task_id in ids]
    assert enabled_at == [world.clock.now(), world.clock.now(), tasks[2].enabled_at]
    changed = [e.target for e in world.audit_entries() if e.action == "scheduling.task_changed"]
    assert sorted(changed) == sorted([f"periodic_task:{task_id}" for task_id in ids] * 2)
