"""A run is one turn of a task; its id follows from the slot, and its end may be seen by the clock alone."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState, run_id
from tests.support.builders import A_MOMENT

TASK = PeriodicTaskId(UUID(int=1))


def a_run(state: RunState, **fields: Any) -> Run:
    run = run_id(TASK, A_MOMENT)
    return Run(id=run, task_id=TASK, scheduled_for=A_MOMENT, state=state, **fields)


def test_one_slot_has_one_id_and_every_other_slot_another() -> None:
    later = A_MOMENT + timedelta(microseconds=1)

    assert run_id(TASK, A_MOMENT) == run_id(TASK, A_MOMENT)
    assert len({run_id(TASK, A_MOMENT), run_id(TASK, later), RunId(UUID(int=1))}) == 3


def test_a_message_that_no_worker_took_in_time_has_expired() -> None:
    run = a_run(RunState.PUBLISHED, deadline=A_MOMENT)

    assert run.state_at(A_MOMENT) is RunState.PUBLISHED
    assert run.state_at(A_MOMENT + timedelta(seconds=1)) is RunState.EXPIRED


def test_a_message_that_waits_for_ever_does_not_expire() -> None:
    run = a_run(RunState.PUBLISHED)

    assert run.state_at(A_MOMENT + timedelta(days=1)) is RunState.PUBLISHED


def test_a_run_that_began_and_whose_time_is_up_is_seen_as_failed() -> None:
    """The process that ran it was killed with its whole worker, and none is left to say so."""
    run = a_run(RunState.STARTED, deadline=A_MOMENT)
    later = A_MOMENT + timedelta(seconds=1)

    assert run.seen_at(A_MOMENT) == run
    assert run.seen_at(later).state is RunState.FAILED
    assert run.seen_at(later).error.startswith("its time was up")


def test_an_ended_run_is_shown_as_it_was_recorded() -> None:
    for state, error in ((RunState.FAILED, "ValueError: no"), (RunState.SUCCEEDED, "")):
        run = a_run(state, deadline=A_MOMENT, error=error)
        assert run.seen_at(A_MOMENT + timedelta(days=1)) == run


def test_a_run_is_as_late_as_its_message_was_published_after_its_slot() -> None:
    assert a_run(RunState.CLAIMED).lateness is None
    assert a_run(
        RunState.STARTED, published_at=A_MOMENT + timedelta(seconds=2)
    ).lateness == timedelta(seconds=2)
