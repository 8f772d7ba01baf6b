"""A run is one turn of a task; its id follows from the slot, and its end may be seen by the clock alone."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from domain.scheduling.runs import Run, RunId, RunState, run_id
from domain.scheduling.slots import PeriodicTaskId
from tests.fakes.builders import A_MOMENT

TASK = PeriodicTaskId(UUID(int=1))


def a_run(state: RunState, **fields: Any) -> Run:
    run = run_id(TASK, A_MOMENT)
    return Run(id=run, task_id=TASK, scheduled_for=A_MOMENT, state=state, **fields)


def test_one_slot_has_one_id_and_every_other_slot_another() -> None:
    later = A_MOMENT + timedelta(microseconds=1)

    assert run_id(TASK, A_MOMENT) == run_id(TASK, A_MOMENT)
    assert len({run_id(TASK, A_MOMENT), run_id(TASK, later), RunId(UUID(int=1))}) == 3


def test_a_message_that_no_worker_took_in_time_has_expired() -> None:
    run = a_run(RunState.PUBLISHED, lapses_at=A_MOMENT)

    assert run.state_at(A_MOMENT) is RunState.PUBLISHED
    assert run.state_at(A_MOMENT + timedelta(seconds=1)) is RunState.EXPIRED


def test_a_message_that_waits_for_ever_and_a_run_that_began_do_not_expire() -> None:
    for run in (a_run(RunState.PUBLISHED), a_run(RunState.STARTED, lapses_at=A_MOMENT)):
        assert run.state_at(A_MOMENT + timedelta(days=1)) is run.state


def test_a_run_is_as_late_as_its_message_was_published_after_its_slot() -> None:
    assert a_run(RunState.CLAIMED).lateness is None
    assert a_run(
        RunState.STARTED, published_at=A_MOMENT + timedelta(seconds=2)
    ).lateness == timedelta(seconds=2)
