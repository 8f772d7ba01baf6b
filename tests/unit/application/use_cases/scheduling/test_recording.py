"""Noting what becomes of runs: before they begin, after they have ended, and never in a task's way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.memory.scheduling.task_runs import MemoryRunLog
from adapters.memory.store import MemoryStore
from application.ports.run_log import Begun, Finished, RunLog
from application.use_cases.scheduling.recording import RunRecorder
from domain.errors import Unavailable
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import Run, RunId, RunState
from tests.support.builders import A_MOMENT
from tests.support.clock import MovableClock
from tests.support.waiting import until

TASK = PeriodicTaskId(UUID(int=1))


class MortalRunLog(RunLog):
    """A log whose store may be away; it counts how often it was asked."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self.is_away = False
        self.begun = 0
        self.batches: list[int] = []

    async def begin(self, begun: Begun) -> bool:
        self.begun += 1
        await self._answer()
        return await self._log.begin(begun)

    async def finish(self, runs: Sequence[Finished]) -> None:
        await self._answer()
        self.batches.append(len(runs))
        await self._log.finish(runs)

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable("PostgreSQL")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def log(store: MemoryStore) -> MortalRunLog:
    return MortalRunLog(MemoryRunLog(store))


@pytest.fixture
async def recorder(log: MortalRunLog) -> AsyncIterator[RunRecorder]:
    async with RunRecorder(log, MovableClock(), gather=0.001, pause=0.02).running() as recorder:
        yield recorder


def publish(store: MemoryStore, number: int = 1) -> RunId:
    """Publish a run."""
    run = Run(
        id=RunId(UUID(int=number)), task_id=TASK, scheduled_for=A_MOMENT, state=RunState.PUBLISHED
    )
    store.runs[run.id] = run
    return run.id


async def begin(recorder: RunRecorder, run_id: RunId, *, again: bool = False) -> bool:
    return await recorder.begin(
        run_id, TASK, A_MOMENT, worker="w@host", longest=timedelta(hours=1), again=again
    )


async def until_it_is(state: RunState, run_id: RunId, store: MemoryStore) -> Run:
    await until(lambda: store.runs[run_id].state is state)
    return store.runs[run_id]


async def test_a_start_is_recorded_before_the_task_goes_on(
    store: MemoryStore, recorder: RunRecorder
) -> None:
    run_id = publish(store)

    assert await begin(recorder, run_id)

    run = store.runs[run_id]
    assert (run.state, run.worker) == (RunState.STARTED, "w@host")
    assert run.started_at is not None
    assert run.deadline == run.started_at + timedelta(hours=1)


async def test_a_run_begins_once_unless_it_is_another_attempt(
    store: MemoryStore, recorder: RunRecorder
) -> None:
    run_id = publish(store)
    await begin(recorder, run_id)

    assert not await begin(recorder, run_id)
    assert await begin(recorder, run_id, again=True)


async def test_an_end_is_recorded_with_its_error(store: MemoryStore, recorder: RunRecorder) -> None:
    well, badly = publish(store, 1), publish(store, 2)
    await begin(recorder, well)
    await begin(recorder, badly)

    recorder.finish(well)
    recorder.finish(badly, error="ValueError: no")

    await until_it_is(RunState.SUCCEEDED, well, store)
    assert (await until_it_is(RunState.FAILED, badly, store)).error == "ValueError: no"


async def test_ends_that_come_together_are_recorded_together(
    store: MemoryStore, log: MortalRunLog, recorder: RunRecorder
) -> None:
    runs = [publish(store, number) for number in range(1, 101)]
    for run_id in runs:
        recorder.finish(run_id)

    await until_it_is(RunState.SUCCEEDED, runs[-1], store)

    assert log.batches == [100]


async def test_a_single_end_is_recorded_at_once_and_those_that_follow_soon_are_gathered(
    store: MemoryStore, log: MortalRunLog
) -> None:
    """Its process may be killed the next moment."""
    runs = [publish(store, number) for number in range(1, 4)]
    async with RunRecorder(log, MovableClock(), gather=60).running() as recorder:
        recorder.finish(runs[0])
        await until_it_is(RunState.SUCCEEDED, runs[0], store)
        for run_id in runs[1:]:
            recorder.finish(run_id)
            await asyncio.sleep(0.01)
        assert log.batches == [1]

    assert log.batches == [1, 2]


async def test_while_the_store_is_away_tasks_run_and_only_the_first_waits_for_it(
    store: MemoryStore, log: MortalRunLog
) -> None:
    runs = [publish(store, number) for number in range(1, 4)]
    async with RunRecorder(log, MovableClock(), pause=60).running() as recorder:
        log.is_away = True

        assert [await begin(recorder, run_id) for run_id in runs] == [True] * 3

        assert log.begun == 1
        log.is_away = False


async def test_events_during_an_outage_of_the_store_are_recorded_afterwards(
    store: MemoryStore, log: MortalRunLog, recorder: RunRecorder
) -> None:
    run_id = publish(store)
    log.is_away = True
    await begin(recorder, run_id)
    recorder.finish(run_id, error="ValueError: no")
    await asyncio.sleep(0.05)

    log.is_away = False

    run = await until_it_is(RunState.FAILED, run_id, store)
    assert run.started_at is not None
    assert run.finished_at is not None


async def test_a_stopping_process_records_what_is_left(
    store: MemoryStore, log: MortalRunLog
) -> None:
    run_id = publish(store)
    async with RunRecorder(log, MovableClock(), gather=60).running() as recorder:
        await begin(recorder, run_id)
        recorder.finish(run_id)

    assert store.runs[run_id].state is RunState.SUCCEEDED


async def test_a_stopping_process_does_not_wait_for_a_store_that_is_away(
    store: MemoryStore, log: MortalRunLog
) -> None:
    run_id = publish(store)
    log.is_away = True

    async with asyncio.timeout(5):
        async with RunRecorder(log, MovableClock()).running() as recorder:
            await begin(recorder, run_id)
            recorder.finish(run_id)

    assert store.runs[run_id].state is RunState.PUBLISHED
