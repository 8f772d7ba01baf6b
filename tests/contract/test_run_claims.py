"""What `RunClaims` promises about runs when leaders, workers and people are at them at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from application.ports.leader_lease import BeatId, BeatReport, Leadership, NotLeading
from application.ports.run_claims import DueSlots, Published
from application.ports.run_log import Begun, Finished
from domain.scheduling.firing import RESOLUTION
from domain.scheduling.periodic_tasks import ScheduleState
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState, run_id
from tests.support.builders import a_task_id, a_uuid
from tests.support.clock import HOUR, SECOND
from tests.support.scheduling_stores import BeatStore, SchedulingBackend

LEASE = timedelta(seconds=15)


@pytest.fixture
def beat(scheduling: SchedulingBackend) -> BeatStore:
    return scheduling.beat()


@pytest.fixture
def task_id() -> PeriodicTaskId:
    return a_task_id()


@pytest.fixture
def slots(scheduling: SchedulingBackend) -> list[datetime]:
    """Return some slots of the last minute."""
    start = scheduling.now().replace(microsecond=0) - timedelta(minutes=1)
    return [start + n * SECOND for n in range(6)]


def a_due(task_id: PeriodicTaskId, *slots: datetime, max_running: int | None = None) -> DueSlots:
    return DueSlots(task_id=task_id, slots=slots, handled_until=max(slots), max_running=max_running)


def published(
    task_id: PeriodicTaskId, *slots: datetime, deadline: datetime | None = None
) -> list[Published]:
    return [
        Published(run_id=run_id(task_id, slot), at=slot + SECOND, deadline=deadline)
        for slot in slots
    ]


def beginning(task_id: PeriodicTaskId, slot: datetime, deadline: datetime | None = None) -> Begun:
    return Begun(
        run_id=run_id(task_id, slot),
        task_id=task_id,
        scheduled_for=slot,
        at=slot + SECOND,
        worker="w",
        deadline=deadline,
    )


async def leads(beat: BeatStore) -> Leadership:
    leadership = await beat.lead(BeatId(a_uuid()), lease=LEASE, report=BeatReport(name="a beat"))
    assert leadership is not None
    return leadership


async def succeeds(scheduling: SchedulingBackend) -> Leadership:
    """Let the lease of the leader end, and return the leadership of another beat."""
    await scheduling.pass_time(LEASE + SECOND)
    return await leads(scheduling.beat())


async def request(
    scheduling: SchedulingBackend,
    task_id: PeriodicTaskId,
    *moments: datetime,
    traceparent: str = "",
) -> list[RunId]:
    runs = [
        Run(
            id=RunId(a_uuid()),
            task_id=task_id,
            scheduled_for=moment,
            state=RunState.REQUESTED,
            requested=True,
            traceparent=traceparent,
        )
        for moment in moments
    ]
    async with scheduling.uow() as work:
        for run in runs:
            await work.runs.request(run)
        await work.commit()
    return [run.id for run in runs]


async def history(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId
) -> dict[datetime, RunState]:
    """Return what became of each slot of a task, of which there is one run at most."""
    async with scheduling.uow() as work:
        runs = (await work.runs.slice(task_id, after=None, limit=5000)).records
    states = {run.scheduled_for: run.state for run in runs}
    assert len(states) == len(runs)
    return states


def slots_of(runs: Sequence[Run]) -> list[datetime]:
    assert all(run.state is RunState.CLAIMED for run in runs)
    assert len({run.id for run in runs}) == len(runs)
    return [run.scheduled_for for run in runs]


# --- slots ---


async def test_a_task_without_due_slots_is_handled_all_the_same(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    due = DueSlots(task_id=task_id, slots=[], handled_until=slots[0])

    assert list(await beat.claim(await leads(beat), [due])) == []

    assert await scheduling.schedule_state(task_id) == ScheduleState(handled_until=slots[0])


async def test_a_thousand_slots_of_a_thousand_tasks_are_claimed_at_once(
    scheduling: SchedulingBackend, beat: BeatStore, slots: list[datetime]
) -> None:
    task_ids = [a_task_id() for _ in range(1000)]

    runs = await beat.claim(await leads(beat), [a_due(each, slots[0]) for each in task_ids])

    assert {run.task_id for run in runs} == set(task_ids)
    assert len(runs) == 1000
    assert set((await beat.schedule_states()).values()) == {
        ScheduleState(handled_until=slots[0], runs=1)
    }
    assert await history(scheduling, task_ids[7]) == {slots[0]: RunState.CLAIMED}


# --- each slot once ---


async def test_a_successor_does_not_claim_slots_of_the_former_leader_again(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    await beat.claim(await leads(beat), [a_due(task_id, *slots[:3])])
    new = await succeeds(scheduling)

    assert slots_of(await beat.claim(new, [a_due(task_id, *slots[:4])])) == [slots[3]]

    assert await scheduling.schedule_state(task_id) == ScheduleState(handled_until=slots[3], runs=4)


async def test_of_two_leaders_the_former_claims_nothing(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    old = await leads(beat)
    new = await succeeds(scheduling)
    answers = await asyncio.gather(
        beat.claim(old, [a_due(task_id, *slots)]),
        beat.claim(new, [a_due(task_id, *slots)]),
        return_exceptions=True,
    )

    assert isinstance(answers[0], NotLeading)
    assert not isinstance(answers[1], BaseException)
    assert slots_of(answers[1]) == slots


async def test_a_beat_claims_nothing_before_there_is_a_leader(
    beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    stranger = Leadership(beat=BeatId(UUID(int=1)), epoch=1)

    with pytest.raises(NotLeading):
        await beat.claim(stranger, [a_due(task_id, *slots)])


# --- no more at once than wanted ---


async def test_a_slot_that_was_skipped_stays_skipped(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    leadership = await leads(beat)
    due = a_due(task_id, *slots[:3], max_running=1)
    first = await beat.claim(leadership, [due])

    assert list(await beat.claim(leadership, [due])) == list(first)
    await scheduling.run_log.finish([Finished(run_id=first[0].id, at=slots[0])])
    assert list(await beat.claim(leadership, [due])) == []

    assert await scheduling.schedule_state(task_id) == ScheduleState(handled_until=slots[2], runs=1)


async def test_the_limit_of_one_task_does_not_limit_others(
    beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    other, unlimited = a_task_id(), a_task_id()

    runs = await beat.claim(
        await leads(beat),
        [
            a_due(task_id, *slots[:2], max_running=1),
            a_due(other, *slots[:2], max_running=1),
            a_due(unlimited, *slots[:2]),
        ],
    )

    claimed = sorted((run.task_id, run.scheduled_for) for run in runs)
    assert claimed == sorted(
        [(task_id, slots[0]), (other, slots[0]), (unlimited, slots[0]), (unlimited, slots[1])]
    )


async def test_slots_that_run_one_after_another_stay_due_until_there_is_room(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    leadership = await leads(beat)
    due = replace(a_due(task_id, *slots[:3], max_running=1), waits_when_full=True)

    first = await beat.claim(leadership, [due])
    again = await beat.claim(leadership, [due])
    schedule_state = (await beat.schedule_states([task_id]))[task_id]

    assert slots_of(first) == slots_of(again) == [slots[0]]
    assert schedule_state == ScheduleState(handled_until=slots[1] - RESOLUTION, runs=1)
    assert await history(scheduling, task_id) == {slots[0]: RunState.CLAIMED}

    await scheduling.run_log.begin(beginning(task_id, slots[0]))
    await scheduling.run_log.finish([Finished(run_id=run_id(task_id, slots[0]), at=slots[1])])
    rest = replace(a_due(task_id, *slots[1:3], max_running=1), waits_when_full=True)

    assert slots_of(await beat.claim(leadership, [rest])) == [slots[1]]


async def test_a_claimed_slot_comes_back_although_there_is_no_room_any_more(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    """The answer was lost, and somebody asked for a run meanwhile."""
    leadership = await leads(beat)
    due = replace(a_due(task_id, *slots[:2], max_running=1), waits_when_full=True)
    await beat.claim(leadership, [due])
    await request(scheduling, task_id, slots[5])
    await beat.claim_requested(leadership, limit=5)

    assert slots_of(await beat.claim(leadership, [due])) == [slots[0]]
    assert (await beat.schedule_states([task_id]))[task_id].handled_until == slots[1] - RESOLUTION


async def test_the_states_of_some_tasks_are_those_of_these_alone(
    beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    other = a_task_id()
    await beat.claim(await leads(beat), [a_due(task_id, slots[0]), a_due(other, slots[0])])

    assert (await beat.schedule_states([other, a_task_id()])).keys() == {other}


async def test_a_requested_run_takes_a_place(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    leadership = await leads(beat)
    await request(scheduling, task_id, slots[0])
    await beat.claim_requested(leadership, limit=5)

    assert list(await beat.claim(leadership, [a_due(task_id, slots[1], max_running=1)])) == []


# --- runs that somebody asked for ---


async def test_requested_runs_of_a_former_leader_are_abandoned_ones(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    (wanted,) = await request(scheduling, task_id, slots[0])
    await beat.claim_requested(await leads(beat), limit=5)
    new = await succeeds(scheduling)

    assert list(await beat.claim_requested(new, limit=5)) == []
    assert [run.id for run in await beat.claim_abandoned(new)] == [wanted]


async def test_a_requested_run_keeps_the_trace_of_its_request(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await request(scheduling, task_id, slots[0], traceparent=trace)

    (run,) = await beat.claim_requested(await leads(beat), limit=5)
    assert run.traceparent == trace


async def test_a_request_that_is_not_committed_is_not_claimed(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    run = Run(
        id=RunId(a_uuid()),
        task_id=task_id,
        scheduled_for=slots[0],
        state=RunState.REQUESTED,
        requested=True,
    )
    async with scheduling.uow() as work:
        await work.runs.request(run)
        assert list(await beat.claim_requested(await leads(beat), limit=5)) == []


# --- what a dead leader left behind ---


async def test_a_leader_may_take_over_twice(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    """It may die before it publishes, or its answer may get lost; its own claims are among them."""
    await beat.claim(await leads(beat), [a_due(task_id, slots[0])])
    second = await succeeds(scheduling)
    await beat.claim_abandoned(second)
    await beat.claim(second, [a_due(task_id, slots[1])])
    assert sorted(slots_of(await beat.claim_abandoned(second))) == slots[:2]

    third = await succeeds(scheduling)
    assert sorted(slots_of(await beat.claim_abandoned(third))) == slots[:2]


async def test_runs_that_were_taken_over_belong_to_the_new_leader(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    await beat.claim(await leads(beat), [a_due(task_id, slots[0])])
    new = await succeeds(scheduling)
    await beat.claim_abandoned(new)

    assert slots_of(await beat.claim(new, [a_due(task_id, slots[0])])) == [slots[0]]
    assert await scheduling.schedule_state(task_id) == ScheduleState(handled_until=slots[0], runs=1)


# --- what became of claims ---


async def test_a_run_that_cannot_be_published_has_failed(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId, slots: list[datetime]
) -> None:
    leadership = await leads(beat)
    await beat.claim(leadership, [a_due(task_id, *slots[:2], max_running=2)])
    assert await scheduling.run_log.begin(beginning(task_id, slots[1]))

    await beat.record_failed(
        [
            Finished(run_id=run_id(task_id, slot), at=slots[3], error="no serializer \0\ud800")
            for slot in slots[:2]
        ]
    )
    await beat.record_failed([])

    async with scheduling.uow() as work:
        begun, failed = (await work.runs.slice(task_id, after=None, limit=5)).records
    assert begun.state is RunState.STARTED
    assert (failed.state, failed.finished_at) == (RunState.FAILED, slots[3])
    assert failed.error.startswith("no serializer")
    assert list(await beat.claim_abandoned(leadership)) == []
    # Its place is free again.
    due = a_due(task_id, slots[4], max_running=2)
    assert slots_of(await beat.claim(leadership, [due])) == [slots[4]]


# --- the clock of the store ---


async def test_a_claim_that_handles_the_future_claims_nothing(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId
) -> None:
    """The clock of that beat is ahead: its tasks would not run until the time that it believes it is."""
    leadership = await leads(beat)
    now, ahead = scheduling.now(), scheduling.now() + timedelta(days=29_200)
    wrong = [
        DueSlots(task_id=task_id, slots=(now,), handled_until=now),
        DueSlots(task_id=task_id, slots=(ahead,), handled_until=ahead),
    ]

    with pytest.raises(NotLeading):
        await beat.claim(leadership, wrong)

    assert await history(scheduling, task_id) == {}
    assert await scheduling.schedule_state(task_id) == ScheduleState()
    assert len(await beat.claim(leadership, wrong[:1])) == 1


async def test_a_recorded_slot_does_not_handle_the_future(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId
) -> None:
    ahead = scheduling.now() + timedelta(days=29_200)

    await beat.record_published_offline(
        [DueSlots(task_id=task_id, slots=(ahead,), handled_until=ahead)], []
    )

    handled_until = (await scheduling.schedule_state(task_id)).handled_until
    assert handled_until is not None
    assert handled_until <= scheduling.now() + SECOND


async def test_a_state_that_is_handled_in_the_future_is_reset_to_now(
    scheduling: SchedulingBackend, beat: BeatStore, task_id: PeriodicTaskId
) -> None:
    """As an earlier version left it when its clock was wrong."""
    now = scheduling.now()
    right = a_task_id()
    await scheduling.write_schedule_state(task_id, ScheduleState(handled_until=now + HOUR, runs=7))
    await scheduling.write_schedule_state(right, ScheduleState(handled_until=now - HOUR, runs=1))

    assert [*await beat.reset_future_states()] == [task_id]
    assert [*await beat.reset_future_states()] == []

    schedule_state = await scheduling.schedule_state(task_id)
    assert schedule_state.runs == 7
    assert schedule_state.handled_until is not None
    assert now <= schedule_state.handled_until <= scheduling.now() + SECOND
    assert await scheduling.schedule_state(right) == ScheduleState(handled_until=now - HOUR, runs=1)
