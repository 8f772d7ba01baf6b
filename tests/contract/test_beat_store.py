"""What the store of beats and `RunLog` promise, kept by memory and by PostgreSQL."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import pytest

from adapters.system import SystemClock
from application.ports.leader_lease import (
    Leadership,
    NotLeading,
)
from application.ports.run_claims import DueSlots, Published
from application.ports.run_log import Begun, Finished
from domain.scheduling.periodic_tasks import ScheduleState
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import RunState, run_id
from tests.support.beat_store_harness import (
    LONG,
    OTHER,
    REPORT,
    SECOND_BEAT,
    TASK,
    BeatStoreHarness,
)
from tests.support.builders import A_MOMENT, a_periodic_task
from tests.support.clock import HOUR
from tests.support.waiting import waits


def slots(number: int, start: datetime = A_MOMENT) -> list[datetime]:
    return [start + n * HOUR for n in range(number)]


def a_due(
    *slots: datetime, task_id: PeriodicTaskId = TASK, max_running: int | None = None
) -> DueSlots:
    until = slots[-1] if slots else A_MOMENT
    return DueSlots(task_id=task_id, slots=slots, handled_until=until, max_running=max_running)


def names(tasks: Sequence[object]) -> list[str]:
    return sorted(each.task.name for each in tasks)  # type: ignore[attr-defined]


# --- definitions ---


async def test_a_beat_loads_every_definition_as_it_was_stored(harness: BeatStoreHarness) -> None:
    tasks = [a_periodic_task(args=[1, {"a": None}], kwargs={"x": 1e300}) for _ in range(3)]
    await harness.define(*tasks)

    loaded = await harness.beat.load()

    assert {each.task.id: each.task for each in loaded.defined} == {task.id: task for task in tasks}
    assert not loaded.deleted


async def test_nothing_to_load_is_no_change(harness: BeatStoreHarness) -> None:
    loaded = await harness.beat.load()

    assert (loaded.defined, loaded.deleted) == ([], []) or not loaded.defined
    assert not (await harness.beat.changes(loaded.mark)).defined


async def test_a_beat_sees_new_changed_and_removed_tasks_and_nothing_else(
    harness: BeatStoreHarness,
) -> None:
    same, changed, gone = (a_periodic_task() for _ in range(3))
    await harness.define(same, changed, gone)
    before = await harness.beat.load()
    versions = {each.task.id: each.version for each in before.defined}

    changed.redefine(replace(changed.definition, name="changed"), at=A_MOMENT)
    new = a_periodic_task()
    await harness.change(changed)
    await harness.delete(gone.id)
    await harness.define(new)
    after = await harness.beat.changes(before.mark)

    seen = {e.task.id: e.task for e in after.defined if versions.get(e.task.id) != e.version}
    assert seen == {changed.id: changed, new.id: new}
    assert [*after.deleted] == [gone.id]


async def test_from_a_later_mark_what_was_seen_has_not_changed(harness: BeatStoreHarness) -> None:
    task = a_periodic_task()
    before = await harness.beat.load()
    await harness.define(task)
    (seen,) = (await harness.beat.changes(before.mark)).defined

    mark = (await harness.beat.changes(before.mark)).mark
    again = (await harness.beat.changes(mark)).defined

    assert all(each.version == seen.version for each in again)


async def test_versions_tell_what_changed(harness: BeatStoreHarness) -> None:
    same, changed = a_periodic_task(), a_periodic_task()
    await harness.define(same, changed)
    before = await harness.beat.versions()

    changed.pause(at=A_MOMENT)
    await harness.change(changed)
    after = await harness.beat.versions()

    assert before.keys() == after.keys() == {same.id, changed.id}
    assert [one for one in after if after[one] != before[one]] == [changed.id]
    (read,) = await harness.beat.read([changed.id, PeriodicTaskId(UUID(int=999_999))])
    assert (read.task, read.version) == (changed, after[changed.id])


@pytest.mark.parametrize("what", ["definition", "request", "hand over"])
async def test_a_beat_hears_at_once_of_what_happens(harness: BeatStoreHarness, what: str) -> None:
    leadership = await harness.lead()
    with suppress(TimeoutError):  # when it begins to listen, it may hear for nothing
        async with asyncio.timeout(0.3):
            await harness.other.changed()
    hearing = asyncio.create_task(harness.other.changed())
    while not await waits(hearing):
        hearing = asyncio.create_task(harness.other.changed())

    if what == "definition":
        await harness.define(a_periodic_task())
    elif what == "request":
        await harness.request()
    else:
        await harness.beat.release(leadership)

    async with asyncio.timeout(5):
        await hearing


async def test_problems_are_kept_until_they_are_solved(harness: BeatStoreHarness) -> None:
    task = a_periodic_task()
    await harness.define(task)
    await harness.beat.record_problems({task.id: "schedule.minute is wrong \0", OTHER: "broken"})
    assert (await harness.beat.status()).invalid == 2

    await harness.beat.record_problems({OTHER: None})

    assert [*await harness.beat.recorded_problems()] == [task.id]
    assert (await harness.beat.status()).invalid == 1


async def test_the_problem_of_a_definition_goes_with_it(harness: BeatStoreHarness) -> None:
    task = a_periodic_task()
    await harness.define(task)
    await harness.beat.record_problems({task.id: "broken"})

    await harness.delete(task.id)

    assert not await harness.beat.recorded_problems()


# --- claims ---


async def test_claimed_slots_become_runs_and_the_task_stands_after_them(
    harness: BeatStoreHarness,
) -> None:
    leadership = await harness.lead()
    first, second = slots(2)

    claimed = await harness.beat.claim(leadership, [a_due(first, second), a_due(task_id=OTHER)])

    assert [(run.id, run.task_id, run.scheduled_for, run.state) for run in claimed] == [
        (run_id(TASK, slot), TASK, slot, RunState.CLAIMED) for slot in (first, second)
    ]
    assert await harness.beat.schedule_states() == {
        TASK: ScheduleState(handled_until=second, runs=2),
        OTHER: ScheduleState(handled_until=A_MOMENT, runs=0),
    }


async def test_a_slot_is_claimed_once_by_any_number_of_beats(harness: BeatStoreHarness) -> None:
    """Even by those who believe that they lead at the same time."""
    due = a_due(*slots(20))
    first = await harness.lead()
    claimed = [run.id for run in await harness.beat.claim(first, [due])]
    await harness.beat.record_published(
        [Published(run_id=one, at=A_MOMENT, deadline=None) for one in claimed[:10]]
    )
    await harness.lapse()
    second = await harness.other.lead(SECOND_BEAT, lease=LONG, report=REPORT)
    assert second is not None

    assert await harness.other.claim(second, [due]) == []
    assert (await harness.beat.schedule_states())[TASK].runs == 20


async def test_of_claims_at_once_each_slot_comes_back_and_counts_once(
    harness: BeatStoreHarness,
) -> None:
    leadership = await harness.lead()
    due = a_due(*slots(10))

    answers = await asyncio.gather(
        *(each.claim(leadership, [due]) for each in (harness.beat, harness.other) * 3)
    )

    assert all(len(answer) == 10 for answer in answers)  # the same leadership asks again
    assert (await harness.beat.schedule_states())[TASK] == ScheduleState(
        handled_until=slots(10)[-1], runs=10
    )
    assert len(await harness.runs()) == 10


async def test_an_answer_that_got_lost_is_given_again_and_counts_once(
    harness: BeatStoreHarness,
) -> None:
    leadership = await harness.lead()
    due = a_due(*slots(2))
    lost = await harness.beat.claim(leadership, [due])

    again = await harness.beat.claim(leadership, [a_due(*slots(3))])

    assert [run.scheduled_for for run in again] == slots(3)
    assert [*again[:2]] == [*lost]
    assert (await harness.beat.schedule_states())[TASK].runs == 3


async def test_a_task_may_have_several_batches_in_one_claim(harness: BeatStoreHarness) -> None:
    """A beat that waited for the store has them in its queue, and one slot may be in two of them."""
    leadership = await harness.lead()
    first, second, third = slots(3)

    claimed = await harness.beat.claim(leadership, [a_due(first, second), a_due(second, third)])

    assert [run.scheduled_for for run in claimed] == [first, second, third]
    assert (await harness.beat.schedule_states())[TASK] == ScheduleState(
        handled_until=third, runs=3
    )


async def test_a_published_slot_is_not_claimed_again(harness: BeatStoreHarness) -> None:
    leadership = await harness.lead()
    (run,) = await harness.beat.claim(leadership, [a_due(A_MOMENT)])
    await harness.beat.record_published([Published(run_id=run.id, at=A_MOMENT, deadline=None)])

    assert await harness.beat.claim(leadership, [a_due(A_MOMENT)]) == []


async def test_a_schedule_state_never_goes_back(harness: BeatStoreHarness) -> None:
    leadership = await harness.lead()
    await harness.beat.claim(leadership, [a_due(A_MOMENT + HOUR)])

    await harness.beat.claim(leadership, [a_due(A_MOMENT)])

    assert (await harness.beat.schedule_states())[TASK] == ScheduleState(
        handled_until=A_MOMENT + HOUR, runs=2
    )


@pytest.mark.parametrize("ended", ["lapsed", "handed over", "taken over", "never"])
async def test_a_beat_that_does_not_lead_claims_nothing(
    harness: BeatStoreHarness, ended: str
) -> None:
    run = await harness.request()
    leadership = await harness.lead()
    if ended == "handed over":
        await harness.beat.release(leadership)
    elif ended == "never":
        leadership = Leadership(beat=SECOND_BEAT, epoch=leadership.epoch)
    else:
        await harness.lapse()
    if ended == "taken over":
        assert await harness.other.lead(SECOND_BEAT, lease=LONG, report=REPORT) is not None

    with pytest.raises(NotLeading):
        await harness.beat.claim(leadership, [a_due(A_MOMENT)])
    with pytest.raises(NotLeading):
        await harness.beat.claim_requested(leadership, limit=10)
    with pytest.raises(NotLeading):
        await harness.beat.claim_abandoned(leadership)
    assert await harness.runs() == [run]
    assert not await harness.beat.schedule_states()


async def test_no_more_runs_go_on_than_a_task_may_have(harness: BeatStoreHarness) -> None:
    """The others are given up, which the history shows."""
    leadership = await harness.lead()

    claimed = await harness.beat.claim(leadership, [a_due(*slots(3), max_running=2)])

    assert [run.scheduled_for for run in claimed] == slots(2)
    assert [run.state for run in await harness.runs()] == [
        RunState.SKIPPED,
        RunState.CLAIMED,
        RunState.CLAIMED,
    ]
    assert (await harness.beat.schedule_states())[TASK] == ScheduleState(
        handled_until=slots(3)[-1], runs=2
    )


async def test_a_run_goes_on_from_its_claim_until_its_end_or_until_it_lapses(
    harness: BeatStoreHarness,
) -> None:
    leadership = await harness.lead()
    now = SystemClock().now()

    async def is_claimed(slot: datetime) -> bool:
        return bool(await harness.beat.claim(leadership, [a_due(slot, max_running=1)]))

    later = iter(slots(10, A_MOMENT + HOUR))
    await harness.beat.claim(leadership, [a_due(A_MOMENT)])
    first = run_id(TASK, A_MOMENT)
    assert not await is_claimed(next(later))

    await harness.beat.record_published([Published(run_id=first, at=now, deadline=now + HOUR)])
    assert not await is_claimed(next(later))

    await harness.log.begin(begun(A_MOMENT, at=now, deadline=now + HOUR))
    assert not await is_claimed(next(later))

    await harness.log.begin(begun(A_MOMENT, at=now, deadline=now - HOUR, again=True))
    slot = next(later)
    assert await is_claimed(slot)

    await harness.log.begin(begun(slot, at=now))
    await harness.log.finish([Finished(run_id=run_id(TASK, slot), at=now)])
    assert await is_claimed(next(later))


async def test_runs_that_were_asked_for_are_claimed_oldest_first(harness: BeatStoreHarness) -> None:
    late = await harness.request(at=A_MOMENT + HOUR)
    early = await harness.request(at=A_MOMENT)
    leadership = await harness.lead()

    first = await harness.beat.claim_requested(leadership, limit=1)
    await harness.beat.record_published([Published(run_id=early.id, at=A_MOMENT, deadline=None)])
    second = await harness.beat.claim_requested(leadership, limit=10)

    assert first == [replace(early, state=RunState.CLAIMED)]
    assert second == [replace(late, state=RunState.CLAIMED)]
    assert await harness.beat.claim_requested(leadership, limit=10) == second, "not noted yet"
    assert not await harness.beat.schedule_states(), "the schedule does not move"


async def test_a_new_leader_takes_over_unpublished_runs(
    harness: BeatStoreHarness,
) -> None:
    asked = await harness.request(OTHER)
    first = await harness.lead()
    await harness.beat.claim(first, [a_due(*slots(2))])
    await harness.beat.claim_requested(first, limit=10)
    published = run_id(TASK, slots(1)[0])
    await harness.beat.record_published([Published(run_id=published, at=A_MOMENT, deadline=None)])
    await harness.lapse()
    second = await harness.other.lead(SECOND_BEAT, lease=LONG, report=REPORT)
    assert second is not None

    taken = await harness.other.claim_abandoned(second)

    assert {run.id for run in taken} == {asked.id, run_id(TASK, slots(2)[1])}
    again = await harness.other.claim(second, [a_due(*slots(2))])
    assert [run.scheduled_for for run in again] == [slots(2)[1]], "they are its own now"


# --- what became of them ---


async def test_a_message_is_recorded_as_published_once(harness: BeatStoreHarness) -> None:
    leadership = await harness.lead()
    (run,) = await harness.beat.claim(leadership, [a_due(A_MOMENT)])

    for at in (A_MOMENT, A_MOMENT + HOUR):
        await harness.beat.record_published([Published(run_id=run.id, at=at, deadline=at + HOUR)])

    assert await harness.run_of(A_MOMENT) == replace(
        run, state=RunState.PUBLISHED, published_at=A_MOMENT, deadline=A_MOMENT + HOUR
    )


async def test_a_worker_may_be_faster_than_the_record_of_publishing(
    harness: BeatStoreHarness,
) -> None:
    leadership = await harness.lead()
    (run,) = await harness.beat.claim(leadership, [a_due(A_MOMENT)])
    await harness.log.begin(begun(A_MOMENT, at=A_MOMENT, deadline=None))

    await harness.beat.record_published(
        [Published(run_id=run.id, at=A_MOMENT, deadline=A_MOMENT + HOUR)]
    )

    stored = await harness.run_of(A_MOMENT)
    assert (stored.state, stored.published_at, stored.deadline) == (
        RunState.STARTED,
        A_MOMENT,
        None,
    )


async def test_a_run_that_cannot_be_published_has_failed(harness: BeatStoreHarness) -> None:
    leadership = await harness.lead()
    (run,) = await harness.beat.claim(leadership, [a_due(A_MOMENT)])

    await harness.beat.record_failed(
        [Finished(run_id=run.id, at=A_MOMENT, error="no serializer\0")]
    )

    stored = await harness.run_of(A_MOMENT)
    assert (stored.state, stored.finished_at) == (RunState.FAILED, A_MOMENT)
    assert stored.error.startswith("no serializer")
    assert await harness.beat.claim_abandoned(leadership) == []


async def test_a_run_published_without_a_claim_is_recorded_and_counted_once(
    harness: BeatStoreHarness,
) -> None:
    """Whether a worker has noted it already, or somebody has claimed it meanwhile, or it was recorded before."""
    noted, claimed, new = slots(3)
    leadership = await harness.lead()
    await harness.beat.claim(leadership, [a_due(claimed)])
    await harness.log.begin(begun(noted, at=noted))
    due = a_due(noted, claimed, new)
    published = [Published(run_id=run_id(TASK, s), at=s, deadline=None) for s in slots(3)]

    for _ in range(2):
        await harness.beat.record_published_offline([due], published)

    assert [run.state for run in await harness.runs()] == [
        RunState.PUBLISHED,
        RunState.PUBLISHED,
        RunState.STARTED,
    ]
    assert (await harness.beat.schedule_states())[TASK] == ScheduleState(handled_until=new, runs=3)


async def test_a_batch_that_is_recorded_with_each_of_its_runs_counts_once(
    harness: BeatStoreHarness,
) -> None:
    first, second, third = slots(3)
    due_slots = [a_due(first, second), a_due(first, second), a_due(third)]
    published = [Published(run_id=run_id(TASK, s), at=s, deadline=None) for s in slots(3)]

    await harness.beat.record_published_offline(due_slots, published)

    assert {run.state for run in await harness.runs()} == {RunState.PUBLISHED}
    assert (await harness.beat.schedule_states())[TASK] == ScheduleState(
        handled_until=third, runs=3
    )


async def test_there_may_be_nothing_to_claim_or_to_record(harness: BeatStoreHarness) -> None:
    leadership = await harness.lead()

    assert not await harness.beat.claim(leadership, [])
    await harness.beat.record_published_offline([], [])
    await harness.beat.record_published([])
    await harness.beat.record_failed([])
    await harness.beat.record_problems({})
    await harness.log.finish([])

    assert not await harness.beat.schedule_states()
    assert not await harness.beat.read([])


# --- workers ---


def begun(
    slot: datetime,
    *,
    at: datetime = A_MOMENT,
    deadline: datetime | None = None,
    again: bool = False,
) -> Begun:
    return Begun(
        run_id=run_id(TASK, slot),
        task_id=TASK,
        scheduled_for=slot,
        at=at,
        worker="celery@host \0" + chr(0xD800),
        deadline=deadline,
        again=again,
    )


async def test_a_run_begins_once(harness: BeatStoreHarness) -> None:
    """A message that was published twice runs once; one that came back because its worker died runs again."""
    leadership = await harness.lead()
    await harness.beat.claim(leadership, [a_due(A_MOMENT)])

    first = await harness.log.begin(begun(A_MOMENT))
    second = await harness.log.begin(begun(A_MOMENT, at=A_MOMENT + HOUR))
    assert (first, second) == (True, False)
    assert (await harness.run_of(A_MOMENT)).started_at == A_MOMENT

    assert await harness.log.begin(begun(A_MOMENT, at=A_MOMENT + HOUR, again=True))
    assert (await harness.run_of(A_MOMENT)).started_at == A_MOMENT + HOUR


async def test_of_twins_that_begin_at_once_one_does(harness: BeatStoreHarness) -> None:
    answers = await asyncio.gather(*(harness.log.begin(begun(A_MOMENT)) for _ in range(8)))

    assert sum(answers) == 1


async def test_a_run_that_is_not_stored_is_stored_when_it_begins(
    harness: BeatStoreHarness,
) -> None:
    assert await harness.log.begin(begun(A_MOMENT))

    assert (await harness.run_of(A_MOMENT)).state is RunState.STARTED


async def test_a_run_ends_well_or_with_what_it_raised(harness: BeatStoreHarness) -> None:
    well, badly = slots(2)
    for slot in (well, badly):
        await harness.log.begin(begun(slot))

    await harness.log.finish(
        [
            Finished(run_id=run_id(TASK, well), at=A_MOMENT),
            Finished(
                run_id=run_id(TASK, badly),
                at=A_MOMENT,
                error="boom \0" + chr(0xD800) + "x" * 10_000,
            ),
            Finished(run_id=run_id(OTHER, badly), at=A_MOMENT, error="of nothing"),
        ]
    )
    await harness.log.finish([])

    good, bad = await harness.run_of(well), await harness.run_of(badly)
    assert (good.state, good.finished_at, good.error) == (RunState.SUCCEEDED, A_MOMENT, "")
    assert bad.state is RunState.FAILED
    assert bad.error.startswith("boom ")
    assert await harness.runs(OTHER) == []


async def test_a_run_that_begins_again_has_not_ended(harness: BeatStoreHarness) -> None:
    await harness.log.begin(begun(A_MOMENT))
    await harness.log.finish([Finished(run_id=run_id(TASK, A_MOMENT), at=A_MOMENT, error="retry")])

    await harness.log.begin(begun(A_MOMENT, again=True))

    run = await harness.run_of(A_MOMENT)
    assert (run.state, run.finished_at, run.error) == (RunState.STARTED, None, "")
