"""What `PeriodicTaskRepository` promises, kept by memory and by PostgreSQL."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from application.paging import PageRequest, Sort
from application.ports.leader_lease import BeatId, BeatReport
from application.ports.periodic_tasks import PeriodicTaskFilter
from application.ports.run_claims import DueSlots
from application.ports.run_log import Begun, Finished
from domain.scheduling.errors import PeriodicTaskNameTaken, PeriodicTaskNotFound
from domain.scheduling.misfire import Misfire
from domain.scheduling.options import PublishingOptions
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.schedules import Clocked, Crontab, Interval, Period, Solar, SolarEvent
from domain.scheduling.task_runs import run_id
from tests.support.builders import A_MOMENT, a_definition, a_periodic_task, a_task_id
from tests.support.scheduling_stores import BROKEN_SCHEDULE, SchedulingBackend
from tests.support.waiting import waits

BEAT = BeatId(UUID(int=1))
LATER = A_MOMENT + timedelta(hours=1, microseconds=1)


async def names(scheduling: SchedulingBackend, **criteria: Any) -> Sequence[str]:
    """Return the names of the tasks that a filter finds."""
    async with scheduling.uow() as work:
        page = await work.periodic_tasks.page(PeriodicTaskFilter(**criteria), PageRequest(size=100))
    assert page.total == len(page.records)
    return [scheduled.task.name for scheduled in page.records]


# --- what is stored ---


@pytest.mark.parametrize(
    "schedule",
    [
        Interval(every=90, period=Period.SECONDS),
        Crontab(minute="*/5", hour="1-3,5", day_of_week="mon", timezone="Europe/Berlin"),
        Solar(event=SolarEvent.DUSK_CIVIL, latitude=-33.5, longitude=151.25),
        Clocked(at=datetime(2027, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    ],
    ids=lambda schedule: schedule.kind,
)
async def test_a_task_is_found_exactly_as_it_was_added(
    scheduling: SchedulingBackend, schedule: Any
) -> None:
    task = a_periodic_task(
        name="Rechnungen „täglich“ 🚀",
        description="One line\nand another; 100 % {x} :y",
        schedule=schedule,
        args=("a\\b\"c'd", 0, -1, 2**62, 0.1, True, None, [[]], {"": {}}),
        kwargs={"name": "王", "deep": {"list": [1, {"x": None}]}},
        options=PublishingOptions({"queue": "slow", "priority": 9, "headers": {"x": [1]}}),
        start_at=A_MOMENT,
        end_at=datetime(2036, 1, 1, tzinfo=UTC),
        max_runs=2**31 - 1,
        max_running=3,
        jitter=timedelta(seconds=1, microseconds=1),
        misfire=Misfire.RUN_ALL,
        misfire_grace=timedelta(hours=1),
    )
    task.pause(at=LATER)
    bare = a_periodic_task(schedule=schedule, one_off=True)
    await scheduling.define(task, bare)

    assert await scheduling.task(task.id) == task
    assert await scheduling.task(bare.id) == bare


async def test_a_task_that_was_not_added_does_not_exist(scheduling: SchedulingBackend) -> None:
    async with scheduling.uow() as work:
        assert await work.periodic_tasks.find(a_task_id()) is None
        with pytest.raises(PeriodicTaskNotFound):
            await work.periodic_tasks.lock(a_task_id())


async def test_the_store_hands_out_copies(scheduling: SchedulingBackend) -> None:
    task = a_periodic_task()
    async with scheduling.uow() as work:
        await work.periodic_tasks.add(task)
        task.pause(at=LATER)
        found = await work.periodic_tasks.find(task.id)
        assert found is not None
        assert found.task.enabled
        found.task.pause(at=LATER)
        await work.commit()

    assert (await scheduling.task(task.id)).enabled


async def test_every_field_of_a_task_can_be_changed(scheduling: SchedulingBackend) -> None:
    task = a_periodic_task()
    await scheduling.define(task)

    task.redefine(
        a_definition(
            name="another", schedule=Interval(2, Period.DAYS), args=(1,), kwargs={}, max_runs=2
        ),
        at=LATER,
    )
    task.pause(at=LATER)
    await scheduling.change(task)
    assert await scheduling.task(task.id) == task

    task.resume(at=LATER + timedelta(days=1))
    await scheduling.change(task)
    assert await scheduling.task(task.id) == task

    task.reset(at=LATER + timedelta(days=2))
    await scheduling.change(task)
    assert await scheduling.task(task.id) == task


async def test_a_change_is_seen_once_its_unit_of_work_commits(
    scheduling: SchedulingBackend,
) -> None:
    task = a_periodic_task()
    await scheduling.define(task)
    changed = replace(task, updated_at=LATER)
    async with scheduling.uow() as work:
        await work.periodic_tasks.lock(task.id)
        await work.periodic_tasks.save(changed)
        assert await scheduling.task(task.id) == task

    assert await scheduling.task(task.id) == task


async def test_where_a_task_stands_can_be_forgotten_while_its_runs_are_kept(
    scheduling: SchedulingBackend,
) -> None:
    task, other = a_periodic_task(), a_periodic_task()
    await scheduling.define(task, other)
    beat = scheduling.beat()
    leadership = await beat.lead(BEAT, lease=timedelta(hours=1), report=BeatReport(name="a beat"))
    assert leadership is not None
    due_slots = [
        DueSlots(task_id=each.id, slots=[A_MOMENT], handled_until=A_MOMENT)
        for each in (task, other)
    ]
    await beat.claim(leadership, due_slots)
    await beat.record_problems({task.id: "broken"})

    async with scheduling.uow() as work:
        await work.periodic_tasks.lock(task.id)
        await work.periodic_tasks.forget_schedule_state(task.id)
        assert await scheduling.schedule_state(task.id) == ScheduleState(
            handled_until=A_MOMENT, runs=1
        )
        await work.commit()

    assert await scheduling.schedule_state(task.id) == ScheduleState()
    assert await scheduling.schedule_state(other.id) == ScheduleState(
        handled_until=A_MOMENT, runs=1
    )
    assert await beat.recorded_problems() == {task.id: "broken"}
    async with scheduling.uow() as work:
        assert len((await work.runs.slice(task.id, after=None, limit=9)).records) == 1


# --- names ---


async def test_two_tasks_never_have_one_name(scheduling: SchedulingBackend) -> None:
    first, second = a_periodic_task(name="reports"), a_periodic_task()
    await scheduling.define(first, second)

    with pytest.raises(PeriodicTaskNameTaken):
        await scheduling.define(a_periodic_task(name="reports"))
    second.redefine(replace(second.definition, name="reports"), at=LATER)
    with pytest.raises(PeriodicTaskNameTaken):
        await scheduling.change(second)

    assert len(await names(scheduling)) == 2


async def test_names_that_differ_in_case_are_two(scheduling: SchedulingBackend) -> None:
    await scheduling.define(a_periodic_task(name="reports"), a_periodic_task(name="Reports"))

    assert await names(scheduling) == ["Reports", "reports"]


async def test_of_many_who_want_a_name_at_once_one_gets_it(scheduling: SchedulingBackend) -> None:
    results = await asyncio.gather(
        *(scheduling.define(a_periodic_task(name="reports")) for _ in range(5)),
        return_exceptions=True,
    )

    assert [type(result) for result in results if result is not None] == 4 * [PeriodicTaskNameTaken]


async def test_the_name_of_a_removed_task_is_free(scheduling: SchedulingBackend) -> None:
    task = a_periodic_task(name="reports")
    await scheduling.define(task)
    await scheduling.delete(task.id)

    await scheduling.define(a_periodic_task(name="reports"))

    assert await names(scheduling) == ["reports"]


# --- locks ---


async def test_a_locked_task_is_not_changed_by_others(scheduling: SchedulingBackend) -> None:
    task = a_periodic_task()
    await scheduling.define(task)

    async def pause() -> None:
        async with scheduling.uow() as work:
            there = (await work.periodic_tasks.lock(task.id)).task
            there.pause(at=LATER)
            await work.periodic_tasks.save(there)
            await work.commit()

    async with scheduling.uow() as work:
        there = (await work.periodic_tasks.lock(task.id)).task
        assert isinstance(there, PeriodicTask)
        other = asyncio.create_task(pause())
        assert await waits(other)
        there.redefine(a_definition(name="renamed"), at=A_MOMENT)
        await work.periodic_tasks.save(there)
        await work.commit()
    await other

    after = await scheduling.task(task.id)
    assert (after.name, after.enabled) == ("renamed", False)


async def test_waiting_for_a_task_that_is_removed_ends_with_not_found(
    scheduling: SchedulingBackend,
) -> None:
    task = a_periodic_task()
    await scheduling.define(task)
    async with scheduling.uow() as work:
        await work.periodic_tasks.lock(task.id)
        other = asyncio.create_task(scheduling.change(task))
        assert await waits(other)
        await work.periodic_tasks.delete(task.id)
        await work.commit()

    with pytest.raises(PeriodicTaskNotFound):
        await other


# --- removal ---


async def test_a_deleted_task_takes_its_own_state_and_runs_with_it(
    scheduling: SchedulingBackend,
) -> None:
    gone, stays = a_periodic_task(), a_periodic_task()
    await scheduling.define(gone, stays)
    slot = scheduling.now() - timedelta(minutes=1)
    due_slots = [
        DueSlots(task_id=task.id, slots=[slot], handled_until=slot) for task in (gone, stays)
    ]
    await scheduling.beat().record_published_offline(due_slots, [])

    await scheduling.delete(gone.id)

    async with scheduling.uow() as work:
        assert await work.periodic_tasks.find(gone.id) is None
        assert (await work.runs.slice(gone.id, after=None, limit=10)).records == []
        (run,) = (await work.runs.slice(stays.id, after=None, limit=10)).records
    assert run.id == run_id(stays.id, slot)
    assert await scheduling.schedule_state(gone.id) == ScheduleState()
    assert await scheduling.schedule_state(stays.id) == ScheduleState(handled_until=slot, runs=1)


async def test_a_task_that_was_made_again_begins_anew(scheduling: SchedulingBackend) -> None:
    """Under the same id, as a restored copy may be."""
    task = a_periodic_task()
    await scheduling.define(task)
    slot = scheduling.now()
    await scheduling.beat().record_published_offline(
        [DueSlots(task_id=task.id, slots=[slot], handled_until=slot)], []
    )
    await scheduling.delete(task.id)

    await scheduling.define(task)

    async with scheduling.uow() as work:
        found = await work.periodic_tasks.find(task.id)
    assert found is not None
    assert found.schedule_state == ScheduleState()


async def test_a_run_may_end_after_its_task_was_removed(scheduling: SchedulingBackend) -> None:
    task, slot = a_periodic_task(), scheduling.now()
    await scheduling.define(task)
    begun = Begun(
        run_id=run_id(task.id, slot), task_id=task.id, scheduled_for=slot, at=slot, worker="w"
    )
    assert await scheduling.run_log.begin(begun)
    await scheduling.delete(task.id)

    await scheduling.run_log.finish([Finished(run_id=begun.run_id, at=slot)])

    async with scheduling.uow() as work:
        assert (await work.runs.slice(task.id, after=None, limit=1)).records == []


# --- where it stands ---


async def test_a_task_comes_with_where_it_stands(scheduling: SchedulingBackend) -> None:
    task, fresh = a_periodic_task(name="a"), a_periodic_task(name="b")
    await scheduling.define(task, fresh)
    slot = scheduling.now()
    await scheduling.beat().record_published_offline(
        [DueSlots(task_id=task.id, slots=[slot], handled_until=slot)], []
    )
    schedule_state = ScheduleState(handled_until=slot, runs=1)

    async with scheduling.uow() as work:
        found = await work.periodic_tasks.find(task.id)
        assert found is not None
        assert found.schedule_state == schedule_state
        assert (await work.periodic_tasks.lock(task.id)).schedule_state == schedule_state
        page = await work.periodic_tasks.page(PeriodicTaskFilter(), PageRequest())
    assert [each.schedule_state for each in page.records] == [schedule_state, ScheduleState()]


# --- lists ---


async def test_tasks_are_listed_by_name_a_page_at_a_time(scheduling: SchedulingBackend) -> None:
    await scheduling.define(*(a_periodic_task(name=name) for name in ("c", "B", "é", "a", "a b")))

    assert await names(scheduling) == ["B", "a", "a b", "c", "é"]
    async with scheduling.uow() as work:
        page = await work.periodic_tasks.page(PeriodicTaskFilter(), PageRequest(2, 2))
        beyond = await work.periodic_tasks.page(PeriodicTaskFilter(), PageRequest(4, 2))
    assert [each.task.name for each in page.records] == ["a b", "c"]
    assert page.total == beyond.total == 5
    assert beyond.records == []


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (Sort("name", descending=True), "cba"),
        (Sort("created_at"), "bca"),
        (Sort("created_at", descending=True), "acb"),
        (Sort("updated_at"), "bca"),
    ],
    ids=str,
)
async def test_pages_have_the_order_that_is_asked_for(
    scheduling: SchedulingBackend, sort: Sort, expected: str
) -> None:
    days = {"a": 2, "b": 0, "c": 1}
    await scheduling.define(
        *(
            a_periodic_task(name=name, created_at=A_MOMENT + timedelta(days=day))
            for name, day in days.items()
        )
    )

    async with scheduling.uow() as work:
        pages = [
            await work.periodic_tasks.page(PeriodicTaskFilter(), PageRequest(number, 2, sort))
            for number in (1, 2)
        ]
    assert "".join(each.task.name for page in pages for each in page.records) == expected


async def test_each_filter_narrows(scheduling: SchedulingBackend) -> None:
    paused = a_periodic_task(name="paused", task="reports.send")
    paused.pause(at=LATER)
    await scheduling.define(
        paused,
        a_periodic_task(name="sum", task="reports.sum", schedule=Interval(1, Period.DAYS)),
        a_periodic_task(name="send", task="reports.send"),
    )

    assert await names(scheduling, enabled=True) == ["send", "sum"]
    assert await names(scheduling, enabled=False) == ["paused"]
    assert await names(scheduling, task="reports.send") == ["paused", "send"]
    assert await names(scheduling, task="reports") == []
    assert await names(scheduling, kind="interval") == ["sum"]
    assert await names(scheduling, kind="no such kind") == []
    assert await names(scheduling, kind="crontab", task="reports.send", enabled=True) == ["send"]


@pytest.mark.parametrize(
    ("keyword", "found"),
    [
        ("DAILY", ["daily report"]),
        ("report", ["daily report", "everything: reports"]),
        ("100%", ["sums"]),
        ("100_", []),
        ("a\\b", ["sums"]),
        ("ÜBER", ["sums"]),
        ("\N{GREEK CAPITAL LETTER OMEGA}", ["ω"]),
        ("🚀", ["ω"]),
        ("'; --", []),
        ("\0", []),
        ("x" * 300, []),
        ("", ["daily report", "everything: reports", "sums", "ω"]),
    ],
)
async def test_a_keyword_is_a_literal_part_of_name_or_description_case_aside(
    scheduling: SchedulingBackend, keyword: str, found: list[str]
) -> None:
    await scheduling.define(
        a_periodic_task(name="daily report"),
        a_periodic_task(name="everything: reports", description="of the week"),
        a_periodic_task(name="sums", description="up to 100% a\\b; über alles"),
        a_periodic_task(name="ω", description="🚀"),
    )

    assert await names(scheduling, keyword=keyword) == found


# --- what cannot be read ---


async def test_a_definition_that_breaks_the_rules_is_shown_with_the_reason(
    scheduling: SchedulingBackend,
) -> None:
    task_id = await scheduling.write_unreadable("broken")
    await scheduling.define(a_periodic_task(name="sound"))

    task = await scheduling.task(task_id)

    assert isinstance(task, UnreadableTask)
    assert (task.id, task.name, task.enabled) == (task_id, "broken", True)
    assert "schedule.minute" in task.reason
    assert task.stored["task"] == "reports.send"
    assert task.stored["kind"] == "crontab"
    assert task.stored["schedule"] == BROKEN_SCHEDULE
    assert await names(scheduling) == ["broken", "sound"]


async def test_unreadable_tasks_can_be_listed(scheduling: SchedulingBackend) -> None:
    task_id = await scheduling.write_unreadable("broken")
    await scheduling.define(a_periodic_task(name="sound"))
    await scheduling.beat().record_problems({task_id: "schedule.minute is wrong"})

    assert await names(scheduling, invalid=True) == ["broken"]
    assert await names(scheduling, invalid=False) == ["sound"]


async def test_a_definition_that_cannot_be_read_can_be_paused_and_is_kept_as_it_is(
    scheduling: SchedulingBackend,
) -> None:
    task_id = await scheduling.write_unreadable("broken")
    before = await scheduling.task(task_id)
    paused = replace(before)
    paused.pause(at=LATER)

    await scheduling.change(paused)

    assert await scheduling.task(task_id) == paused != before


async def test_a_definition_that_cannot_be_read_can_be_replaced_and_removed(
    scheduling: SchedulingBackend,
) -> None:
    task_id = await scheduling.write_unreadable("broken")
    broken = await scheduling.task(task_id)
    assert isinstance(broken, UnreadableTask)
    mended = broken.redefined(a_definition(name="mended"), at=LATER)

    await scheduling.change(mended)
    assert await scheduling.task(task_id) == mended

    other_id = await scheduling.write_unreadable("broken")
    await scheduling.delete(other_id)
    assert await names(scheduling) == ["mended"]
