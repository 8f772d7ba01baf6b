"""What `RunRepository` promises, kept by memory and by PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from application.paging import Cursor, PageRequest
from application.ports.periodic_tasks import PeriodicTaskFilter
from application.ports.run_claims import DueSlots, Published
from application.ports.run_log import Begun, Finished
from application.ports.task_runs import RunFilter
from domain.scheduling.errors import PeriodicTaskNotFound, RunNotFound
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState, run_id
from tests.support.builders import A_MOMENT, a_periodic_task, a_task_id, a_uuid
from tests.support.clock import MINUTE
from tests.support.scheduling_stores import SchedulingBackend


def a_request(task_id: PeriodicTaskId, at: datetime = A_MOMENT) -> Run:
    return Run(
        id=RunId(a_uuid()),
        task_id=task_id,
        scheduled_for=at,
        state=RunState.REQUESTED,
        requested=True,
    )


async def request(scheduling: SchedulingBackend, *runs: Run) -> None:
    async with scheduling.uow() as work:
        for run in runs:
            await work.runs.request(run)
        await work.commit()


async def publish(
    scheduling: SchedulingBackend,
    task_id: PeriodicTaskId,
    *slots: datetime,
    deadline: datetime | None = None,
) -> None:
    await scheduling.beat().record_published_offline(
        [DueSlots(task_id=task_id, slots=slots, handled_until=max(slots))],
        [Published(run_id=run_id(task_id, s), at=s, deadline=deadline) for s in slots],
    )


async def begin(scheduling: SchedulingBackend, task_id: PeriodicTaskId, slot: datetime) -> RunId:
    begun = Begun(
        run_id=run_id(task_id, slot), task_id=task_id, scheduled_for=slot, at=slot, worker="w"
    )
    assert await scheduling.run_log.begin(begun)
    return begun.run_id


async def finish(scheduling: SchedulingBackend, task_id: PeriodicTaskId, slot: datetime) -> None:
    ended = Finished(run_id=await begin(scheduling, task_id, slot), at=slot + MINUTE)
    await scheduling.run_log.finish([ended])


async def history(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId, *, limit: int = 100
) -> Sequence[Run]:
    """Return every run of a task, slice by slice."""
    found: list[Run] = []
    after: Cursor | None = None
    while True:
        async with scheduling.uow() as work:
            part = await work.runs.slice(task_id, after=after, limit=limit)
        assert len(part.records) <= limit
        found += part.records
        after = part.next
        if after is None:
            return found


async def prune(scheduling: SchedulingBackend, *, before: datetime, limit: int = 100) -> int:
    async with scheduling.uow() as work:
        number = await work.runs.prune(before=before, limit=limit)
        await work.commit()
    return number


async def test_a_requested_run_is_in_the_history(
    scheduling: SchedulingBackend,
) -> None:
    task_id = a_task_id()
    run = a_request(task_id, A_MOMENT + timedelta(microseconds=1))

    await request(scheduling, run)

    assert await history(scheduling, task_id) == [run]


async def test_a_run_is_asked_for_exactly_if_the_unit_of_work_commits(
    scheduling: SchedulingBackend,
) -> None:
    task_id = a_task_id()
    async with scheduling.uow() as work:
        await work.runs.request(a_request(task_id))

    assert await history(scheduling, task_id) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
async def test_slices_together_are_the_history_newest_first(
    scheduling: SchedulingBackend, limit: int
) -> None:
    """Of one instant, the run with the greater id comes first; runs of other tasks are not among them."""
    task_id, other = a_task_id(), a_task_id()
    runs = [a_request(task_id, A_MOMENT + n // 2 * MINUTE) for n in range(6)]
    await request(scheduling, *runs, a_request(other))

    assert await history(scheduling, task_id, limit=limit) == runs[::-1]


async def test_a_slice_goes_on_where_a_run_was_that_is_gone(scheduling: SchedulingBackend) -> None:
    task_id = a_task_id()
    old, new = a_request(task_id), a_request(task_id, A_MOMENT + MINUTE)
    await request(scheduling, old, new)

    async with scheduling.uow() as work:
        gone = Cursor(A_MOMENT + timedelta(seconds=30), UUID(int=0))
        part = await work.runs.slice(task_id, after=gone, limit=5)
    assert (list(part.records), part.next) == ([old], None)


async def test_there_is_no_history_of_what_never_ran(scheduling: SchedulingBackend) -> None:
    assert await history(scheduling, a_task_id()) == []


# --- pruning ---


async def test_old_runs_that_have_ended_can_be_pruned(scheduling: SchedulingBackend) -> None:
    task_id, bound = a_task_id(), A_MOMENT + 10 * MINUTE
    for minute in (0, 5, 10, 15):
        await finish(scheduling, task_id, A_MOMENT + minute * MINUTE)

    assert await prune(scheduling, before=bound) == 2

    left = [run.scheduled_for for run in await history(scheduling, task_id)]
    assert left == [bound + 5 * MINUTE, bound]
    assert await prune(scheduling, before=bound) == 0


async def test_no_more_are_pruned_at_once_than_asked_for(scheduling: SchedulingBackend) -> None:
    task_id = a_task_id()
    for minute in range(5):
        await finish(scheduling, task_id, A_MOMENT + minute * MINUTE)

    later = A_MOMENT + timedelta(days=1)
    assert [await prune(scheduling, before=later, limit=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_a_run_that_is_going_on_is_not_pruned_however_old(
    scheduling: SchedulingBackend,
) -> None:
    task_id, later = a_task_id(), A_MOMENT + timedelta(days=400)
    await request(scheduling, a_request(task_id))
    await publish(scheduling, task_id, A_MOMENT + MINUTE)
    await begin(scheduling, task_id, A_MOMENT + 2 * MINUTE)
    await scheduling.beat().record_published_offline(
        [DueSlots(task_id=task_id, slots=[A_MOMENT + 3 * MINUTE], handled_until=A_MOMENT)], []
    )

    assert await prune(scheduling, before=later) == 0
    assert len(await history(scheduling, task_id)) == 4


async def test_a_run_past_its_deadline_is_pruned_although_it_never_ended(
    scheduling: SchedulingBackend,
) -> None:
    """Messages that expired, and workers that died."""
    task_id = a_task_id()
    await publish(scheduling, task_id, A_MOMENT, deadline=A_MOMENT + MINUTE)

    assert await prune(scheduling, before=A_MOMENT + timedelta(days=1)) == 1
    assert await history(scheduling, task_id) == []


async def test_pruning_that_is_not_committed_prunes_nothing(scheduling: SchedulingBackend) -> None:
    task_id = a_task_id()
    await finish(scheduling, task_id, A_MOMENT)
    async with scheduling.uow() as work:
        assert await work.runs.prune(before=A_MOMENT + MINUTE, limit=9) == 1

    assert len(await history(scheduling, task_id)) == 1


# --- over all tasks ---


async def search(
    scheduling: SchedulingBackend,
    *,
    at: datetime = A_MOMENT + 10 * MINUTE,
    limit: int = 100,
    **criteria: Any,
) -> Sequence[Run]:
    """Return every run that a filter finds at a moment, slice by slice."""
    found: list[Run] = []
    after: Cursor | None = None
    while True:
        async with scheduling.uow() as work:
            part = await work.runs.search(RunFilter(**criteria), at=at, after=after, limit=limit)
        assert len(part.records) <= limit
        found += part.records
        after = part.next
        if after is None:
            return found


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_runs_of_all_tasks_are_found_newest_first_and_by_what_became_of_them(
    scheduling: SchedulingBackend, limit: int
) -> None:
    first, second = a_task_id(), a_task_id()
    slots = [A_MOMENT + n * MINUTE for n in range(6)]
    await publish(scheduling, first, slots[0], deadline=slots[1])  # expires
    await publish(scheduling, second, slots[1], slots[2], slots[3], slots[4])
    await begin(scheduling, second, slots[1])
    failed = Finished(run_id=await begin(scheduling, second, slots[2]), at=slots[3], error="no")
    lost = Begun(
        run_id=run_id(second, slots[3]),
        task_id=second,
        scheduled_for=slots[3],
        at=slots[3],
        worker="w",
        deadline=slots[4],
    )
    await scheduling.run_log.finish([failed])
    await scheduling.run_log.begin(lost)
    await request(scheduling, a_request(first, slots[5]))

    async def found(**criteria: Any) -> list[datetime]:
        runs = await search(scheduling, limit=limit, **criteria)
        return [run.scheduled_for for run in runs]

    assert await found() == slots[::-1]
    assert await found(task_id=first) == [slots[5], slots[0]]
    assert await found(state=RunState.FAILED) == [slots[3], slots[2]]
    assert await found(state=RunState.EXPIRED) == [slots[0]]
    assert await found(state=RunState.PUBLISHED) == [slots[4]]
    assert await found(state=RunState.STARTED) == [slots[1]]
    assert await found(state=RunState.REQUESTED, task_id=first) == [slots[5]]
    assert await found(state=RunState.FAILED, task_id=first) == []
    assert {run.state for run in await search(scheduling, state=RunState.FAILED)} == {
        RunState.FAILED
    }


async def test_a_run_that_is_called_off_is_not_begun_nor_published_again(
    scheduling: SchedulingBackend,
) -> None:
    task_id = a_task_id()
    await publish(scheduling, task_id, A_MOMENT)
    run = run_id(task_id, A_MOMENT)
    async with scheduling.uow() as work:
        await work.runs.save((await work.runs.lock(run)).cancelled(at=A_MOMENT + MINUTE))
        await work.commit()
    begun = Begun(
        run_id=run, task_id=task_id, scheduled_for=A_MOMENT, at=A_MOMENT + MINUTE, worker="w"
    )

    assert not await scheduling.run_log.begin(begun)
    await scheduling.beat().record_published(
        [Published(run_id=run, at=A_MOMENT + MINUTE, deadline=None)]
    )

    (seen,) = await search(scheduling, state=RunState.CANCELLED)
    assert (seen.id, seen.finished_at) == (run, A_MOMENT + MINUTE)


async def test_a_run_that_is_not_there_cannot_be_locked(scheduling: SchedulingBackend) -> None:
    async with scheduling.uow() as work:
        with pytest.raises(RunNotFound):
            await work.runs.lock(RunId(UUID(int=0)))


async def test_a_task_is_found_and_listed_with_its_newest_run(
    scheduling: SchedulingBackend,
) -> None:
    task, fresh = a_periodic_task(name="a"), a_periodic_task(name="b")
    await scheduling.define(task, fresh)
    await publish(scheduling, task.id, A_MOMENT, A_MOMENT + MINUTE, A_MOMENT - MINUTE)
    newest = run_id(task.id, A_MOMENT + MINUTE)

    async with scheduling.uow() as work:
        found = await work.periodic_tasks.find(task.id)
        page = await work.periodic_tasks.page(PeriodicTaskFilter(), PageRequest())

    assert found is not None
    last = [each.last_run and each.last_run.id for each in (found, *page.records)]
    assert last == [newest, newest, None]


async def test_some_tasks_are_locked_together_or_not_at_all(
    scheduling: SchedulingBackend,
) -> None:
    tasks = [a_periodic_task(name=name) for name in "cab"]
    await scheduling.define(*tasks)
    ids = [task.id for task in tasks]

    async with scheduling.uow() as work:
        found = await work.periodic_tasks.lock_all([*ids[::-1], ids[0]])
        assert [each.task.id for each in found] == sorted(ids)
        names = await work.periodic_tasks.names([ids[0], a_task_id()])
    assert names == {ids[0]: "c"}
    async with scheduling.uow() as work:
        with pytest.raises(PeriodicTaskNotFound):
            await work.periodic_tasks.lock_all([*ids, a_task_id()])
