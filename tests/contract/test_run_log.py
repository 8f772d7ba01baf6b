"""What `RunLog` promises about beginnings and ends that come late, twice, in masses, or with any content."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from application.ports.run_claims import DueSlots, Published
from application.ports.run_log import Begun, Finished
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState, run_id
from tests.support.builders import A_MOMENT, a_periodic_task, a_task_id
from tests.support.clock import SECOND
from tests.support.scheduling_stores import SchedulingBackend


@pytest.fixture
def task_id() -> PeriodicTaskId:
    return a_task_id()


def beginning(task_id: PeriodicTaskId, slot: datetime = A_MOMENT, **facts: Any) -> Begun:
    known = {"at": slot + SECOND, "worker": "celery@one", "deadline": slot + 60 * SECOND}
    return Begun(
        run_id=run_id(task_id, slot), task_id=task_id, scheduled_for=slot, **{**known, **facts}
    )


async def claimed(scheduling: SchedulingBackend, task_id: PeriodicTaskId, *slots: datetime) -> None:
    await scheduling.beat().record_published_offline(
        [DueSlots(task_id=task_id, slots=slots, handled_until=max(slots))], []
    )


async def history(scheduling: SchedulingBackend, task_id: PeriodicTaskId) -> Sequence[Run]:
    async with scheduling.uow() as work:
        return (await work.runs.slice(task_id, after=None, limit=1000)).records


async def the_run(scheduling: SchedulingBackend, task_id: PeriodicTaskId) -> Run:
    (run,) = await history(scheduling, task_id)
    return run


async def test_nothing_of_a_deleted_task_begins(scheduling: SchedulingBackend) -> None:
    """Its message may wait for a worker for hours, and a task that was removed must not run."""
    task, kept = a_periodic_task(), a_periodic_task()
    await scheduling.define(task, kept)
    await claimed(scheduling, task.id, A_MOMENT)
    await scheduling.delete(task.id)

    assert not await scheduling.run_log.begin(beginning(task.id))
    assert not await scheduling.run_log.begin(beginning(task.id, again=True))
    assert await history(scheduling, task.id) == []
    assert await scheduling.run_log.begin(beginning(kept.id))


async def test_a_run_of_a_task_without_a_row_begins(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId
) -> None:
    """A task of the configuration has none, and neither has a run that was published while the store was away."""
    assert await scheduling.run_log.begin(beginning(task_id))


@pytest.mark.parametrize("error", [None, "ValueError: no"])
async def test_a_run_that_has_ended_does_not_begin(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId, error: str | None
) -> None:
    await scheduling.run_log.begin(beginning(task_id))
    run = run_id(task_id, A_MOMENT)
    await scheduling.run_log.finish([Finished(run_id=run, at=A_MOMENT, error=error)])
    before = await the_run(scheduling, task_id)

    assert not await scheduling.run_log.begin(beginning(task_id))

    assert await the_run(scheduling, task_id) == before


async def published(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId, *, deadline: datetime | None
) -> None:
    await claimed(scheduling, task_id, A_MOMENT)
    run = run_id(task_id, A_MOMENT)
    await scheduling.beat().record_published(
        [Published(run_id=run, at=A_MOMENT, deadline=deadline)]
    )


@pytest.mark.parametrize("again", [True, False])
async def test_a_run_whose_message_has_expired_does_not_begin(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId, *, again: bool
) -> None:
    """A message that comes back need not be one that a worker has begun."""
    await published(scheduling, task_id, deadline=A_MOMENT + SECOND)
    before = await the_run(scheduling, task_id)

    assert not await scheduling.run_log.begin(
        beginning(task_id, at=A_MOMENT + 1.1 * SECOND, again=again)
    )

    assert await the_run(scheduling, task_id) == before


@pytest.mark.parametrize("deadline", [None, A_MOMENT + SECOND])
async def test_a_run_that_begins_in_time_may_begin_again_later(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId, deadline: datetime | None
) -> None:
    await published(scheduling, task_id, deadline=deadline)

    assert await scheduling.run_log.begin(beginning(task_id, at=A_MOMENT + 0.9 * SECOND))
    later = beginning(task_id, at=A_MOMENT + 3600 * SECOND, again=True)
    assert await scheduling.run_log.begin(later)

    assert (await the_run(scheduling, task_id)).started_at == later.at


@pytest.mark.parametrize(("error", "begins"), [(None, False), ("TimeLimitExceeded: 1", True)])
async def test_another_attempt_begins_unless_one_has_succeeded(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId, error: str | None, *, begins: bool
) -> None:
    await scheduling.run_log.begin(beginning(task_id))
    run = run_id(task_id, A_MOMENT)
    await scheduling.run_log.finish([Finished(run_id=run, at=A_MOMENT, error=error)])

    assert await scheduling.run_log.begin(beginning(task_id, again=True)) is begins


async def test_a_run_that_the_store_does_not_know_yet_begins(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId
) -> None:
    """A beat may publish while the store is away, and record that later: the worker's word stays."""
    assert await scheduling.run_log.begin(beginning(task_id))
    await scheduling.beat().record_published_offline(
        [DueSlots(task_id=task_id, slots=[A_MOMENT], handled_until=A_MOMENT)],
        [Published(run_id=run_id(task_id, A_MOMENT), at=A_MOMENT, deadline=A_MOMENT)],
    )

    found = await the_run(scheduling, task_id)
    assert (found.state, found.worker) == (RunState.STARTED, "celery@one")
    assert found.published_at == A_MOMENT
    assert found.deadline == A_MOMENT + 60 * SECOND


async def test_a_thousand_ends_are_recorded_at_once(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId
) -> None:
    slots = [A_MOMENT + n * SECOND for n in range(1000)]
    await claimed(scheduling, task_id, *slots)

    await scheduling.run_log.finish(
        [Finished(run_id=run_id(task_id, slot), at=slot) for slot in slots]
    )

    assert {run.state for run in await history(scheduling, task_id)} == {RunState.SUCCEEDED}


async def test_the_end_of_a_run_that_is_gone_is_ignored(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId
) -> None:
    """Its task was deleted meanwhile. The others of the batch are noted."""
    await scheduling.run_log.begin(beginning(task_id))
    gone = Finished(run_id=RunId(UUID(int=1)), at=A_MOMENT)

    await scheduling.run_log.finish([gone, Finished(run_id=run_id(task_id, A_MOMENT), at=A_MOMENT)])
    await scheduling.run_log.finish([])

    assert (await the_run(scheduling, task_id)).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("error", "shown"),
    [("NUL \0 in it", "NUL"), ("a lone \ud800 surrogate", "a lone"), ("x" * 10_000_000, "xxx")],
    ids=["NUL", "surrogate", "huge"],
)
async def test_any_error_of_a_task_can_be_recorded(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId, error: str, shown: str
) -> None:
    await scheduling.run_log.begin(beginning(task_id, worker="w\0\ud800"))

    await scheduling.run_log.finish(
        [Finished(run_id=run_id(task_id, A_MOMENT), at=A_MOMENT, error=error)]
    )

    found = await the_run(scheduling, task_id)
    assert found.state is RunState.FAILED
    assert found.error.startswith(shown)


LOST, LATE, WELL = "WorkerLostError: lost", "TimeLimitExceeded: late", None


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("reported", "kept"),
    [
        ((LOST, LATE), LOST),
        ((LATE, LATE), LATE),
        ((LOST, WELL), WELL),
        ((WELL, LOST), WELL),
        ((WELL, WELL), WELL),
    ],
)
async def test_an_end_that_is_reported_twice_is_recorded_once(
    scheduling: SchedulingBackend,
    task_id: PeriodicTaskId,
    reported: tuple[str | None, str | None],
    kept: str | None,
    *,
    together: bool,
) -> None:
    """By a process and by the one that supervises it, or by two attempts: a success counts, else what came first."""
    await scheduling.run_log.begin(beginning(task_id))
    ends = [
        Finished(run_id=run_id(task_id, A_MOMENT), at=A_MOMENT + n * SECOND, error=error)
        for n, error in enumerate(reported)
    ]

    for batch in [ends] if together else [ends[:1], ends[1:]]:
        await scheduling.run_log.finish(batch)

    found = await the_run(scheduling, task_id)
    assert found.error == (kept or "")
    assert found.state is (RunState.SUCCEEDED if kept is None else RunState.FAILED)
    assert found.finished_at == A_MOMENT + reported.index(kept) * SECOND


async def test_an_error_without_words_is_an_error(
    scheduling: SchedulingBackend, task_id: PeriodicTaskId
) -> None:
    await scheduling.run_log.begin(beginning(task_id))
    await scheduling.run_log.finish(
        [Finished(run_id=run_id(task_id, A_MOMENT), at=A_MOMENT, error="")]
    )

    assert (await the_run(scheduling, task_id)).state is RunState.FAILED
