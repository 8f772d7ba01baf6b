"""The beat: what runs when, under any leader and in any outage."""

import logging
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from application.ports.leader_lease import BeatReport, PublishingProblem
from domain.scheduling.misfire import Misfire
from domain.scheduling.options import PublishingOptions
from domain.scheduling.periodic_tasks import PeriodicTask, ScheduleState, UnreadableTask
from domain.scheduling.schedules import Interval, Period, Solar, SolarEvent
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import RunState
from entrypoints.celery.beat_schedule import read_configuration
from tests.support.builders import A_MOMENT, a_definition, a_periodic_task, cron
from tests.support.clock import HOUR, MINUTE, SECOND, MovableClock
from tests.support.simulated_beat import LEASE, Beat, Broker, SharedStore, live

EVERY_SECOND = Interval(1, Period.SECONDS)
EVERY_HOUR = Interval(1, Period.HOURS)


@pytest.fixture
def store() -> SharedStore:
    return SharedStore(MovableClock())


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def beat(store: SharedStore, broker: Broker) -> Beat:
    return Beat(store, broker)


def each_second(start: int, end: int) -> list[object]:
    """Return the slots of a task of each second, which begin after `A_MOMENT`."""
    return [A_MOMENT + n * SECOND for n in range(start, end + 1)]


def a_task(store: SharedStore, **changes: object) -> PeriodicTask:
    """Commit a task of each second, but for `changes`."""
    task = a_periodic_task(created_at=store.clock.now(), **{"schedule": EVERY_SECOND, **changes})
    store.define(task)
    return task


# --- what is due ---


async def test_a_task_runs_at_each_of_its_times(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store)

    await beat.live(5)

    assert broker.slots(task.id) == each_second(1, 5)
    assert store.slots(task.id, RunState.PUBLISHED) == each_second(1, 5)
    assert store.schedule_states[task.id] == ScheduleState(
        handled_until=A_MOMENT + 5 * SECOND, runs=5
    )


async def test_everything_that_is_due_at_once_is_claimed_in_few_statements(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    tasks = [a_task(store) for _ in range(1000)]
    await beat.tick()
    store.asked.clear()

    await beat.live(1, step=1)

    assert len(broker.messages) == len({run.task_id for run in broker.messages}) == len(tasks)
    assert store.asked.count("claim") + store.asked.count("record_published") <= 6


async def test_a_task_that_is_made_changed_paused_resumed_or_deleted_needs_no_restart(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    await beat.tick()
    task = a_task(store)
    await beat.live(2)
    assert broker.slots(task.id) == each_second(1, 2)

    task.pause(at=store.clock.now())
    store.define(task)
    await beat.live(3)
    assert broker.slots(task.id) == each_second(1, 2)

    task.resume(at=store.clock.now())
    store.define(task)
    await beat.live(2)
    assert broker.slots(task.id) == [*each_second(1, 2), *each_second(6, 7)]

    del store.periodic_tasks[task.id]
    await beat.live(2)
    assert len(broker.slots(task.id)) == 4
    assert beat.engine.queue.next_due_at is None


async def test_a_change_moves_no_other_task_and_not_the_next_time_either(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    hourly = a_task(store, schedule=EVERY_HOUR)
    await beat.live(1800, step=10)

    hourly.redefine(
        a_definition(schedule=EVERY_HOUR, kwargs={"changed": True}), at=store.clock.now()
    )
    store.define(hourly)
    await beat.live(1800, step=10)

    assert broker.slots(hourly.id) == [A_MOMENT + HOUR]


async def test_slots_that_a_change_makes_overdue_run_once(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    daily = a_task(store, schedule=Interval(1, Period.DAYS))
    await beat.live(7200, step=10)
    await store.clock.pass_time(SECOND / 2)

    daily.redefine(a_definition(schedule=EVERY_SECOND), at=store.clock.now())
    store.define(daily)
    await beat.tick()

    assert broker.slots(daily.id) == [A_MOMENT + 2 * HOUR]


async def test_a_definition_that_was_committed_late_does_not_run_for_the_time_before(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    await beat.tick()
    task = a_periodic_task(created_at=store.clock.now(), schedule=EVERY_SECOND)
    await beat.live(60, step=5)
    await store.clock.pass_time(SECOND / 2)
    store.define(task)

    await beat.tick()

    assert broker.slots(task.id) == [A_MOMENT + 60 * SECOND]


async def test_a_pause_that_is_to_be_caught_up_with_is_a_time_that_was_missed(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store)
    await beat.live(2)
    task.pause(at=store.clock.now())
    store.define(task)
    await beat.live(10.5)

    task.resume(at=store.clock.now(), catch_up=True)
    store.define(task)
    await beat.tick()

    assert broker.slots(task.id) == [*each_second(1, 2), A_MOMENT + 12 * SECOND]


async def test_a_one_off_runs_once_and_a_limited_task_so_often(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    once, thrice = a_task(store, one_off=True), a_task(store, max_runs=3)

    await beat.live(10)

    assert broker.slots(once.id) == each_second(1, 1)
    assert broker.slots(thrice.id) == each_second(1, 3)


async def test_a_task_that_was_reset_begins_anew_at_once(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    once = a_task(store, one_off=True)
    await beat.live(3)
    assert broker.slots(once.id) == each_second(1, 1)

    store.schedule_states.pop(once.id)
    once.reset(at=store.clock.now())
    store.define(once)
    await beat.live(3)

    assert broker.slots(once.id) == [*each_second(1, 1), *each_second(4, 4)]
    assert store.schedule_states[once.id].runs == 1


async def test_a_skipped_slot_does_not_count_as_a_run(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store, max_runs=3, max_running=1, options=PublishingOptions({"expires": 3600}))
    await beat.live(3)
    assert broker.slots(task.id) == each_second(1, 1)

    for run in [*store.runs.values()]:
        store.runs.pop(run.id)
    await beat.live(1, step=1)

    assert broker.slots(task.id) == [*each_second(1, 1), *each_second(4, 4)]
    assert store.schedule_states[task.id].runs == 2


async def test_slots_that_are_all_wanted_run_one_after_the_other(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    """As long as one run goes on the others wait, in their order; none is skipped, and the broker holds one."""
    task = a_task(store, max_running=1, misfire=Misfire.RUN_ALL)
    await beat.tick()
    await beat.live(5)
    assert broker.slots(task.id) == each_second(1, 1)

    for number in range(1, 6):
        assert broker.slots(task.id) == each_second(1, number)
        store.finish(broker.messages[-1].id)
        await beat.live(2.5, step=0.25)

    assert store.slots(task.id, RunState.SKIPPED) == []
    assert store.schedule_states[task.id].runs == len(broker.messages)


async def test_a_task_whose_slots_wait_is_asked_for_seldom_and_paused_at_once(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store, max_running=1, misfire=Misfire.RUN_ALL)
    await beat.live(10)
    store.asked.clear()

    await beat.live(10, step=0.25)
    assert store.asked.count("claim") <= 6

    task.pause(at=store.clock.now())
    store.define(task)
    store.finish(broker.messages[-1].id)
    await beat.live(5)
    assert broker.slots(task.id) == each_second(1, 1)


async def test_slots_that_wait_are_left_to_the_next_leader(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store, max_running=1, misfire=Misfire.RUN_ALL)
    await beat.live(5)
    await beat.stop()
    other = Beat(store, broker)
    await other.tick()
    store.finish(broker.messages[-1].id)

    await other.live(3)

    assert broker.slots(task.id) == each_second(1, 2)


async def test_a_requested_run_moves_no_slot(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store, schedule=EVERY_HOUR)
    await beat.live(60, step=10)
    wanted = store.request(task.id)

    await beat.live(10, step=5)

    assert [run.id for run in broker.messages] == [wanted.id]
    assert store.runs[wanted.id].state is RunState.PUBLISHED
    await beat.live(3600, step=10)
    assert broker.slots(task.id) == [A_MOMENT + MINUTE, A_MOMENT + HOUR]


async def test_a_run_of_a_task_that_was_made_a_moment_ago_finds_its_task(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    await beat.tick()
    task = a_periodic_task(created_at=store.clock.now(), schedule=EVERY_HOUR)
    wanted = store.request(task.id)
    store.define(task)

    await beat.engine.watcher.step()
    await beat.publish()

    assert [run.id for run in broker.messages] == [wanted.id]


async def test_a_message_expires_when_the_next_slot_comes(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    a_task(store, schedule=EVERY_HOUR)
    forever = a_task(store, schedule=EVERY_HOUR, misfire=Misfire.RUN_ALL)

    await beat.live(3600, step=10)

    expiries = {run.task_id: broker.expiries[run.id] for run in broker.messages}
    assert expiries.pop(forever.id) is None
    assert [*expiries.values()] == [A_MOMENT + 2 * HOUR]


# --- tasks that cannot be read ---


def unreadable(task_id: PeriodicTaskId, reason: str = "schedule.minute is wrong") -> UnreadableTask:
    return UnreadableTask(
        id=task_id,
        name="broken",
        stored={},
        reason=reason,
        enabled_at=A_MOMENT,
        created_at=A_MOMENT,
        updated_at=A_MOMENT,
    )


async def test_an_unreadable_definition_is_flagged_and_stops_no_other(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    good, broken = a_task(store), a_task(store)
    store.define(unreadable(broken.id))

    await beat.live(2)

    assert broker.slots(good.id) == each_second(1, 2)
    assert store.problems == {broken.id: "schedule.minute is wrong"}

    store.define(broken)
    await beat.live(2)

    assert store.problems == {}
    assert broker.slots(broken.id) == each_second(2, 4)


async def test_a_flag_that_an_earlier_leader_left_is_taken_away(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store)
    store.problems = {task.id: "was wrong", PeriodicTaskId(UUID(int=0)): "is gone"}

    await beat.tick()

    assert store.problems == {}


async def test_a_schedule_that_fails_when_it_is_asked_is_flagged_and_stops_no_other(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    good, solar = a_task(store), a_task(store, schedule=Solar(SolarEvent.SUNRISE, 52.5, 13.4))

    await beat.live(2)

    assert broker.slots(good.id) == each_second(1, 2)
    assert "no astronomy is installed" in store.problems[solar.id]


async def test_a_message_that_can_never_be_sent_fails_its_run_alone(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    broken, good = a_task(store, task="broken"), a_task(store)
    broker.refuses = {"broken"}

    await beat.live(2)

    assert broker.slots(good.id) == each_second(1, 2)
    assert store.slots(broken.id, RunState.FAILED) == each_second(1, 2)
    assert "no such serializer" in next(
        run.error for run in store.runs.values() if run.task_id == broken.id
    )


# --- time without a beat ---


@pytest.mark.parametrize(
    ("misfire", "grace", "ran"),
    [
        (Misfire.SKIP, None, []),
        (Misfire.RUN_ONCE, None, [10]),
        (Misfire.RUN_ALL, None, [3, 4, 5, 6, 7, 8, 9, 10]),
        (Misfire.RUN_ALL, 3 * SECOND, [8, 9, 10]),
        (Misfire.RUN_ONCE, 3 * SECOND, [10]),
    ],
)
async def test_slots_that_passed_while_no_beat_was_there_are_a_matter_of_misfire_and_grace(  # noqa: PLR0917
    store: SharedStore,
    broker: Broker,
    beat: Beat,
    misfire: Misfire,
    grace: timedelta | None,
    ran: list[int],
) -> None:
    task = a_task(store, misfire=misfire, misfire_grace=grace)
    await beat.live(2)
    await beat.stop()
    await store.clock.pass_time(8 * SECOND + SECOND / 2)
    before = broker.slots(task.id)

    await Beat(store, broker).tick()

    assert before == each_second(1, 2)
    assert broker.slots(task.id) == [*before, *(A_MOMENT + n * SECOND for n in ran)]


async def test_an_interval_of_an_hour_is_on_time_though_the_beat_restarts_every_ten_minutes(
    store: SharedStore, broker: Broker
) -> None:
    task = a_task(store, schedule=EVERY_HOUR)
    for _ in range(3 * 6 + 1):
        beat = Beat(store, broker)
        await beat.live(600, step=10)
        await beat.stop()

    assert broker.slots(task.id) == [A_MOMENT + n * HOUR for n in (1, 2, 3)]
    assert {run.published_at for run in store.runs.values()} == set(broker.slots(task.id))


async def test_a_beat_whose_machine_slept_was_not_there(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store)
    await beat.live(2)

    await store.clock.pass_time(HOUR)
    await beat.live(1)

    assert broker.slots(task.id) == [
        *each_second(1, 2),
        A_MOMENT + HOUR + 2 * SECOND,
        A_MOMENT + HOUR + 3 * SECOND,
    ]


# --- several beats ---


async def test_of_two_beats_one_leads(store: SharedStore, broker: Broker, beat: Beat) -> None:
    task, other = a_task(store), Beat(store, broker)

    await live(beat, other, seconds=10)

    assert broker.slots(task.id) == each_second(1, 10)


async def test_a_beat_stands_by_while_it_knows_that_another_one_leads(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    """Its health check says so."""
    other = Beat(store, broker)
    await live(beat, other, seconds=3)
    assert [each.engine.stands_by for each in (beat, other)] == [False, True]

    store.is_away = True
    await live(beat, other, seconds=3)
    assert [each.engine.stands_by for each in (beat, other)] == [False, False]

    store.is_away = False
    await beat.stop()
    await other.live(5)
    assert other.engine.leads
    assert not other.engine.stands_by


async def test_when_the_leader_dies_the_other_runs_every_slot_that_it_did_not(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task, other = a_task(store), Beat(store, broker)
    await live(beat, other, seconds=3)

    await other.live(LEASE.total_seconds() + 3)

    assert broker.slots(task.id) == each_second(1, 21)


async def test_a_leader_that_stops_hands_over_at_once(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task, other = a_task(store), Beat(store, broker)
    await live(beat, other, seconds=3)

    await beat.stop()
    await other.live(1)

    assert broker.slots(task.id) == each_second(1, 4)
    assert store.lease is not None
    assert store.lease.epoch == 2


async def test_runs_claimed_by_a_leader_that_died_are_published_by_the_next(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task, other = a_task(store), Beat(store, broker)
    await live(beat, other, seconds=3)
    await store.clock.pass_time(SECOND)
    await beat.claim()
    assert store.slots(task.id, RunState.CLAIMED) == each_second(4, 4)

    await other.live(LEASE.total_seconds() + 1)

    assert broker.slots(task.id) == each_second(1, 20)


async def test_a_message_that_a_leader_published_and_did_not_record_is_published_again_with_the_same_id(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task, other = a_task(store), Beat(store, broker)
    await live(beat, other, seconds=1, step=1)
    await store.clock.pass_time(SECOND)
    await beat.claim()
    await beat.publish()
    assert broker.slots(task.id) == each_second(1, 2)

    await other.live(LEASE.total_seconds())

    twice = [run.id for run in broker.messages if run.scheduled_for == A_MOMENT + 2 * SECOND]
    assert len(twice) == 2
    assert len(set(twice)) == 1


async def test_a_leader_that_was_held_up_for_longer_than_its_lease_publishes_nothing_more(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task, other = a_task(store), Beat(store, broker)
    await live(beat, other, seconds=1, step=1)
    await store.clock.pass_time(SECOND)
    await beat.claim()  # granted, and then its thread is not scheduled for a while
    await other.live(LEASE.total_seconds() + 1)
    before = broker.slots(task.id)

    await live(beat, other, seconds=3)

    assert before == each_second(1, 18)
    assert broker.slots(task.id) == each_second(1, 21)


# --- outages ---


async def test_while_the_store_is_away_everything_runs_as_long_as_the_lease_is_safe(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store)
    await beat.live(3)

    store.is_away = True
    await beat.live(8)
    assert broker.slots(task.id) == each_second(1, 11)

    store.is_away = False
    await beat.live(3)
    assert broker.slots(task.id) == each_second(1, 14)
    assert store.slots(task.id, RunState.PUBLISHED) == each_second(1, 14)
    assert store.schedule_states[task.id] == ScheduleState(
        handled_until=A_MOMENT + 14 * SECOND, runs=14
    )


async def test_when_the_store_is_away_for_longer_than_the_lease_every_slot_runs_once_afterwards(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task, other = a_task(store), Beat(store, broker)
    await live(beat, other, seconds=3)

    store.is_away = True
    await live(beat, other, seconds=30)
    during = len(broker.slots(task.id))
    store.is_away = False
    await live(beat, other, seconds=5)

    assert during < 20, "no beat publishes when another one may lead"
    assert broker.slots(task.id) == each_second(1, 38)
    assert store.slots(task.id, RunState.PUBLISHED) == each_second(1, 38)
    assert store.schedule_states[task.id].runs == 38


async def test_a_store_that_is_away_at_the_start_is_waited_for_and_no_slot_is_lost(
    store: SharedStore, broker: Broker
) -> None:
    task = a_task(store)
    store.is_away = True
    beat = Beat(store, broker)
    await beat.live(30)
    store.is_away = False

    await beat.live(2)

    assert broker.slots(task.id) == each_second(1, 32)


async def test_a_claim_whose_answer_got_lost_is_neither_lost_nor_made_twice(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task, guarded = a_task(store), a_task(store, max_running=1, misfire=Misfire.RUN_ALL)
    wanted = a_task(store, schedule=EVERY_HOUR)
    await beat.tick()

    store.loses_answers = True
    request = store.request(wanted.id)
    await beat.live(3)
    store.loses_answers = False
    await beat.live(7)

    assert broker.slots(task.id) == each_second(1, 10)
    assert broker.slots(guarded.id) == each_second(1, 1)
    assert [run.id for run in broker.messages if run.requested] == [request.id]


async def test_tasks_with_max_running_wait_for_the_store_which_alone_knows_what_goes_on(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store, max_running=1)
    await beat.tick()
    store.is_away = True
    await beat.live(3)
    assert broker.slots(task.id) == []

    store.is_away = False
    await beat.live(1)

    assert broker.slots(task.id) == each_second(1, 1)


async def test_messages_that_the_broker_does_not_take_are_kept(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store)
    await beat.tick()
    broker.is_away = True
    await beat.live(20)
    assert broker.messages == []

    broker.is_away = False
    await beat.live(6)

    assert broker.slots(task.id) == each_second(1, 26)
    assert store.slots(task.id, RunState.CLAIMED) == []


async def test_while_the_broker_is_away_it_is_not_asked_all_the_time(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    a_task(store)
    await beat.tick()
    broker.is_away = True

    await beat.live(60)

    assert 10 < broker.attempts < 20


# --- reading ---


async def test_a_poll_that_fails_drops_nothing(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    tasks = [a_task(store) for _ in range(10)]
    await beat.tick()
    store.is_away = True
    await beat.tick()
    store.is_away = False

    assert len(beat.engine.queue) == len(tasks)


async def test_a_change_without_a_notification_is_found_by_comparing_everything(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    """As after a restored backup, whose transactions are those of another database."""
    changed, gone, new = a_task(store), a_task(store), a_periodic_task(schedule=EVERY_SECOND)
    await beat.tick()
    store.hides_changes = True
    changed.pause(at=store.clock.now())
    store.define(changed)
    del store.periodic_tasks[gone.id]
    store.define(new)

    await beat.live(301, step=10)

    queue = beat.engine.queue
    entry = queue.find(changed.id)
    assert entry is not None
    assert entry.due_at is None
    assert queue.find(gone.id) is None
    assert queue.find(new.id) is not None


async def test_the_queue_does_not_grow_with_changes(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store, schedule=EVERY_HOUR)
    for minute in range(5000):
        task.redefine(a_definition(schedule=cron(f"{minute % 60} * * * *")), at=store.clock.now())
        beat.engine.queue.define(task)

    assert len(beat.engine.queue._heap) < 2000
    beat.engine.queue.compact()
    assert len(beat.engine.queue._heap) < 1010


async def test_due_slots_that_cannot_be_claimed_are_dropped_alone(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    tasks = [a_task(store) for _ in range(5)]
    store.unclaimable = {tasks[2].id}

    await beat.live(2)

    others = [task for task in tasks if task.id != tasks[2].id]
    assert [broker.slots(task.id) for task in others] == [each_second(1, 2)] * 4
    assert "cannot be claimed" in store.problems[tasks[2].id]


# --- a beat that hangs, cannot publish, or has a wrong clock ---


def last_report(store: SharedStore) -> BeatReport:
    """Return the last report of a beat."""
    assert store.lease is not None
    return store.lease.report


async def test_a_leader_whose_publishing_hangs_is_replaced_though_its_event_loop_goes_on(
    store: SharedStore, broker: Broker, beat: Beat, caplog: pytest.LogCaptureFixture
) -> None:
    task, other = a_task(store), Beat(store, broker)
    await live(beat, other, seconds=3)

    beat.thread.hangs = True
    await live(beat, other, seconds=30, step=1)

    assert store.lease is not None
    assert store.lease.epoch == 2, "it handed over once, and did not take the lease back"
    assert broker.slots(task.id) == each_second(1, 33)
    assert [r.message for r in caplog.records if "cannot lead" in r.message] == [
        "this beat cannot lead: it has hung for 11 s"
    ]

    beat.thread.go_on()
    await live(beat, other, seconds=3)

    assert broker.slots(task.id) == each_second(1, 36), (
        "what it had in hand is not its own any more"
    )


async def test_a_batch_ends_with_the_leadership_that_claimed_it(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    """Even if the beat leads again before the message is sent: the new leadership has taken over the rest."""
    for _ in range(5):
        a_task(store)
    await beat.tick()
    lease = beat.engine.lease
    assert lease.leadership is not None
    again = replace(lease.leadership)

    def lead_anew() -> None:
        lease.lose()
        lease.extend(again, asked_at=beat.monotonic())

    broker.before_publishing = lead_anew
    await store.clock.pass_time(SECOND)
    await beat.claim()
    await beat.publish()

    assert broker.attempts == 1


async def test_a_beat_that_hangs_says_so_and_leads_again_when_it_goes_on(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store)
    await beat.live(3)
    beat.thread.hangs = True
    await beat.live(20, step=1)
    assert not (await beat.status()).leads
    assert last_report(store).problem == "it has hung for 19 s"

    beat.thread.go_on()
    await beat.live(2)

    assert (await beat.status()).leads
    assert last_report(store).problem is None
    assert broker.slots(task.id) == each_second(1, 25)


async def test_a_beat_that_hangs_while_it_publishes_says_what(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    a_task(store, name="Mail everybody")
    await beat.tick()
    problems: list[str | None] = []

    def hang() -> None:
        store.clock._now += 60 * SECOND
        problems.append(beat.engine.report().problem)

    broker.before_publishing = hang
    await beat.live(1, step=1)

    assert problems[0] == "it has hung for 60 s, publishing Mail everybody"


async def test_a_broker_that_is_away_is_reported_with_its_reason_until_it_is_back(
    store: SharedStore, broker: Broker, beat: Beat, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    a_task(store)
    await beat.live(3)
    assert last_report(store).publishing is None
    broker.is_away = True

    await beat.live(700, step=1)

    assert last_report(store).publishing == PublishingProblem(
        since=A_MOMENT + 4 * SECOND, error="connection refused"
    )
    assert last_report(store).lag > 600 * SECOND
    logged = [r.message for r in caplog.records if "takes no messages" in r.message]
    assert len(logged) == 3, "at once, and every five minutes"
    assert all("connection refused" in line for line in logged)

    broker.is_away = False
    await beat.live(6)

    assert last_report(store).publishing is None
    assert [r.message for r in caplog.records].count("the broker takes messages again") == 1


async def test_a_beat_that_never_sent_a_message_reports_any_reason(
    store: SharedStore, broker: Broker, beat: Beat, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a package is missing."""
    a_task(store, task="broken")
    broker.refuses = {"broken"}

    await beat.live(60, step=1)

    assert last_report(store).publishing == PublishingProblem(
        since=A_MOMENT + SECOND, error="no such serializer"
    )
    assert len([r for r in caplog.records if "cannot be published" in r.message]) == 1


async def test_one_task_that_cannot_be_sent_is_no_problem_of_the_beat_but_all_are(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    a_task(store, task="broken"), a_task(store)
    broker.refuses = {"broken"}
    await beat.live(20)
    assert last_report(store).publishing is None

    broker.refuses = {"broken", "reports.send"}
    await beat.live(10)

    assert last_report(store).publishing is not None


@pytest.mark.parametrize(
    ("ahead", "problem"),
    [
        (timedelta(days=29_200), "its clock is 29200 days, 0:00:00 ahead of that of the database"),
        (-10 * MINUTE, "its clock is 0:10:00 behind that of the database"),
        (6 * SECOND, "its clock is 0:00:06 ahead of that of the database"),
    ],
)
async def test_a_beat_whose_clock_is_wrong_does_not_lead_and_says_why(  # noqa: PLR0917
    store: SharedStore,
    broker: Broker,
    beat: Beat,
    ahead: timedelta,
    problem: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = a_task(store)
    beat.clock.ahead = ahead
    await beat.live(10)
    assert broker.messages == []
    assert not (await beat.status()).leads
    assert last_report(store).problem == problem
    assert [r.message for r in caplog.records].count(f"this beat cannot lead: {problem}") == 1

    beat.clock.ahead = timedelta(0)
    await beat.live(2)

    assert broker.slots(task.id)[-2:] == each_second(11, 12)
    assert last_report(store).problem is None


async def test_a_beat_that_came_up_with_a_clock_that_is_ahead_is_as_any_other_once_it_is_right(
    store: SharedStore, broker: Broker
) -> None:
    """What skips missed slots would never run again if the beat took all of them for missed ones."""
    store.clock._now += 29_200 * 24 * HOUR
    configured = read_configuration(
        {"each second": {"task": "reports.send", "schedule": 1}}, timezone="UTC"
    )
    beat = Beat(store, broker, configured)
    await beat.claim()
    store.clock._now -= 29_200 * 24 * HOUR
    task = a_task(store, misfire=Misfire.SKIP)

    await beat.live(3)

    assert broker.slots(task.id) == each_second(1, 3)
    assert broker.slots(configured[0].id) == each_second(1, 3)


@pytest.mark.parametrize("ahead", [timedelta(days=29_200), HOUR, 20 * SECOND, -HOUR])
async def test_a_leader_whose_clock_goes_wrong_handles_no_future_slot_and_hands_over(
    store: SharedStore, broker: Broker, beat: Beat, ahead: timedelta
) -> None:
    task, other = a_task(store), Beat(store, broker)
    await live(beat, other, seconds=3)

    beat.clock.ahead = ahead
    await live(beat, other, seconds=20)
    beat.clock.ahead = timedelta(0)
    await live(beat, other, seconds=5)

    assert broker.slots(task.id) == each_second(1, 28)
    assert store.schedule_states[task.id] == ScheduleState(
        handled_until=A_MOMENT + 28 * SECOND, runs=28
    )


async def test_a_clock_that_is_wrong_for_a_moment_between_two_polls_loses_no_slot(
    store: SharedStore, broker: Broker, beat: Beat
) -> None:
    task = a_task(store)
    await beat.live(3)
    beat.clock.ahead = HOUR
    await beat.claim()
    beat.clock.ahead = timedelta(0)

    await beat.live(10)

    assert broker.slots(task.id) == each_second(1, 13)


async def test_slots_that_a_wrong_clock_has_handled_in_the_future_are_reset(
    store: SharedStore, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks of the configuration too, which cannot be deleted and made again."""
    task = a_task(store)
    configured = read_configuration(
        {"each second": {"task": "reports.send", "schedule": 1}}, timezone="UTC"
    )
    (static,) = configured
    for task_id in (task.id, static.id):
        store.schedule_states[task_id] = ScheduleState(
            handled_until=A_MOMENT + 29_200 * 24 * HOUR, runs=1
        )

    await Beat(store, broker, configured).live(3)

    assert broker.slots(task.id) == broker.slots(static.id) == each_second(1, 3)
    assert str(static.id) in next(r.message for r in caplog.records if "future" in r.message)
