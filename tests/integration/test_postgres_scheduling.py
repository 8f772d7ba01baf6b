"""Beats and workers on PostgreSQL: what they do at once, what that costs, and what is written past us."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import postgres_engine
from adapters.postgres.scheduling.task_runs import PostgresRunLog
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from application.paging import PageRequest
from application.ports.definition_feed import Changes
from application.ports.leader_lease import BeatId, BeatReport, Leadership
from application.ports.periodic_tasks import PeriodicTaskFilter
from application.ports.run_claims import DueSlots, Published
from application.ports.run_log import Begun, Finished
from application.settings import PostgresSettings
from domain.scheduling.errors import PeriodicTaskNotFound
from domain.scheduling.periodic_tasks import PeriodicTask, UnreadableTask
from domain.scheduling.task_runs import RunId, run_id
from tests.support.builders import A_MOMENT, a_periodic_task
from tests.support.scheduling_stores import PostgresBeatStore
from tests.support.statements import statements

BEAT = BeatId(UUID(int=1))
REPORT = BeatReport(name="host:1")
LEASE = timedelta(minutes=1)
SLOTS = [A_MOMENT + n * timedelta(minutes=1) for n in range(6)]


@pytest.fixture
def settings(postgres_url: str) -> PostgresSettings:
    return PostgresSettings(url=postgres_url, timeout=timedelta(seconds=10), pool_size=16)


@pytest.fixture
async def engine(settings: PostgresSettings) -> AsyncIterator[AsyncEngine]:
    engine = postgres_engine(settings)
    yield engine
    await engine.dispose()


@pytest.fixture
async def beat(engine: AsyncEngine, settings: PostgresSettings) -> AsyncIterator[PostgresBeatStore]:
    store = PostgresBeatStore(engine, settings)
    yield store
    await store.aclose()


@pytest.fixture
async def by_hand(postgres_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(postgres_url, timeout=10)
    yield connection
    await connection.close()


async def lead(beat: PostgresBeatStore) -> Leadership:
    leadership = await beat.lead(BEAT, lease=LEASE, report=REPORT)
    assert leadership is not None
    return leadership


async def define(engine: AsyncEngine, *tasks: PeriodicTask) -> None:
    async with PostgresUnitOfWork(engine) as work:
        for task in tasks:
            await work.periodic_tasks.add(task)
        await work.commit()


def names(changes: Changes) -> list[str]:
    return sorted(each.task.name for each in changes.defined)


# --- reports of beats of other versions ---


async def test_a_report_of_a_beat_of_another_version_can_be_read(
    beat: PostgresBeatStore, by_hand: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await lead(beat)
    await by_hand.execute(
        """UPDATE beat_lease SET report = '{"name": "other", "next_slot": null, "lag": 0.5, "new": 1}'"""
    )

    report = (await beat.status()).report

    assert report == BeatReport(name="other", lag=timedelta(seconds=0.5))


# --- at once ------------------------------------------------------------------------------------


class Crowd:
    """Beats, workers and people who do the same things to the same tasks, each in an order of its own."""

    def __init__(
        self, engine: AsyncEngine, beat: PostgresBeatStore, tasks: Sequence[PeriodicTask]
    ) -> None:
        self._engine = engine
        self._beat = beat
        self._log = PostgresRunLog(engine)
        self._tasks = tasks
        self._dice = random.Random(7)  # noqa: S311 - an order, no secret

    def everybody(self, leadership: Leadership) -> list[Callable[[], Awaitable[object]]]:
        """Return what they do, what they do often more than once."""
        beat, log = self._beat, self._log
        often = [
            lambda: beat.claim(leadership, self._due_slots()),
            self._record,
            lambda: beat.record_published(self._published(self._due_slots())),
            lambda: log.finish(self._finished()),
        ]
        return [
            *often,
            *often,
            lambda: beat.claim_abandoned(leadership),
            lambda: beat.claim_requested(leadership, limit=10),
            lambda: beat.record_failed(self._finished()),
            lambda: beat.record_problems({task.id: "broken" for task in self._some_tasks()}),
            lambda: beat.lead(BEAT, lease=LEASE, report=REPORT),
            beat.reset_future_states,
            lambda: beat.report_standby(BEAT, REPORT),
            self._reset,
            self._begin,
            self._prune,
            self._make_again,
        ]

    def _some_tasks(self) -> list[PeriodicTask]:
        return self._dice.sample(self._tasks, len(self._tasks) - 2)

    def _due_slots(self) -> list[DueSlots]:
        return [
            DueSlots(task_id=task.id, slots=self._dice.sample(SLOTS, 4), handled_until=SLOTS[-1])
            for task in self._some_tasks()
        ]

    def _runs(self, due_slots: Sequence[DueSlots]) -> list[RunId]:
        runs = [run_id(due.task_id, slot) for due in due_slots for slot in due.slots]
        self._dice.shuffle(runs)
        return runs

    def _published(self, due_slots: Sequence[DueSlots]) -> list[Published]:
        return [Published(run_id=run, at=A_MOMENT, deadline=None) for run in self._runs(due_slots)]

    def _finished(self) -> list[Finished]:
        return [Finished(run_id=run, at=A_MOMENT) for run in self._runs(self._due_slots())]

    async def _record(self) -> None:
        due_slots = self._due_slots()
        await self._beat.record_published_offline(due_slots, self._published(due_slots))

    async def _begin(self) -> None:
        task, slot = self._dice.choice(self._tasks), self._dice.choice(SLOTS)
        await self._log.begin(
            Begun(
                run_id=run_id(task.id, slot),
                task_id=task.id,
                scheduled_for=slot,
                at=A_MOMENT,
                worker="worker",
                again=True,
            )
        )

    async def _prune(self) -> None:
        async with PostgresUnitOfWork(self._engine) as work:
            await work.runs.prune(before=SLOTS[2], limit=10)
            await work.commit()

    async def _reset(self) -> None:
        task = self._dice.choice(self._tasks)
        with suppress(PeriodicTaskNotFound):  # it is being made again
            async with PostgresUnitOfWork(self._engine) as work:
                await work.periodic_tasks.lock(task.id)
                await work.periodic_tasks.forget_schedule_state(task.id)
                await work.commit()

    async def _make_again(self) -> None:
        task = self._dice.choice(self._tasks)
        async with PostgresUnitOfWork(self._engine) as work:
            await work.periodic_tasks.lock(task.id)
            await work.periodic_tasks.delete(task.id)
            await work.periodic_tasks.add(task)
            await work.commit()


async def test_those_who_do_everything_at_once_never_wait_for_each_other_in_a_ring(
    engine: AsyncEngine, beat: PostgresBeatStore
) -> None:
    """A ring ends in `Unavailable` for one of them, after a second in which nothing goes on."""
    tasks = [a_periodic_task() for _ in range(8)]
    await define(engine, *tasks)
    until = asyncio.get_running_loop().time() + 2
    done: list[object] = []

    async def again_and_again(what: Callable[[], Awaitable[object]]) -> None:
        while asyncio.get_running_loop().time() < until:
            await what()
            done.append(what)

    async with asyncio.TaskGroup() as group:
        for what in Crowd(engine, beat, tasks).everybody(await lead(beat)):
            group.create_task(again_and_again(what))

    assert len(set(done)) == 15


async def test_a_run_that_two_beats_record_at_once_counts_once(
    engine: AsyncEngine, beat: PostgresBeatStore
) -> None:
    task = a_periodic_task()
    due = DueSlots(task_id=task.id, slots=SLOTS, handled_until=SLOTS[-1])

    await asyncio.gather(*(beat.record_published_offline([due], []) for _ in range(8)))

    assert (await beat.schedule_states())[task.id].runs == len(SLOTS)


# --- what it costs ------------------------------------------------------------------------------


async def test_asking_for_changes_is_one_statement_however_many_there_are(
    engine: AsyncEngine, beat: PostgresBeatStore, by_hand: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await write_many(by_hand, 1_500)
    mark = (await beat.load()).mark
    for many in (0, 1, 1_500):
        await by_hand.execute(
            "UPDATE periodic_tasks SET description = 'new' WHERE id IN (SELECT id FROM periodic_tasks LIMIT $1)",
            many,
        )
        with statements(engine) as said:
            changes = await beat.changes(mark)
        mark = changes.mark
        # What was seen may come again: the mark lags behind transactions in other databases too.
        assert len(changes.defined) >= many
        assert len(said) == 1


# --- what is written past us --------------------------------------------------------------------

HOURLY = ("reports.send", "crontab", '{"minute": "0"}')


async def write_many(by_hand: "asyncpg.Connection[asyncpg.Record]", many: int) -> None:
    columns = ("name", "task", "kind", "schedule")
    rows = [(f"task {n:04}", *HOURLY) for n in range(many)]
    await by_hand.copy_records_to_table("periodic_tasks", records=rows, columns=columns)
    await by_hand.execute("INSERT INTO schedule_states SELECT id, now(), 1 FROM periodic_tasks")


async def test_rows_that_are_copied_in_are_seen(
    beat: PostgresBeatStore, by_hand: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    mark = (await beat.load()).mark

    await write_many(by_hand, 3)

    assert names(await beat.changes(mark)) == ["task 0000", "task 0001", "task 0002"]


async def test_a_transaction_that_writes_long_after_it_began_is_seen(
    beat: PostgresBeatStore, by_hand: "asyncpg.Connection[asyncpg.Record]", postgres_url: str
) -> None:
    """It gets its number when it writes, which is not the order in which transactions begin."""
    late = await asyncpg.connect(postgres_url, timeout=10)
    async with late.transaction(isolation="repeatable_read"):
        await late.fetchval("SELECT count(*) FROM periodic_tasks")
        await write_many(by_hand, 1)
        mark = (await beat.changes((await beat.load()).mark)).mark
        await late.execute(
            "INSERT INTO periodic_tasks (name, task, kind, schedule) VALUES ('late', $1, $2, $3)",
            *HOURLY,
        )
        mark = (await beat.changes(mark)).mark
    await late.close()

    assert "late" in names(await beat.changes(mark))


async def test_a_row_that_is_removed_and_put_in_again_by_hand_is_there(
    beat: PostgresBeatStore, by_hand: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await write_many(by_hand, 1)
    loaded = await beat.load()
    await by_hand.execute("CREATE TEMP TABLE kept AS SELECT * FROM periodic_tasks")
    await by_hand.execute("DELETE FROM periodic_tasks")
    await by_hand.execute("INSERT INTO periodic_tasks SELECT * FROM kept")

    changes = await beat.changes(loaded.mark)

    assert (names(changes), list(changes.deleted)) == (["task 0000"], [])
    assert changes.defined[0].version != loaded.defined[0].version


async def test_pages_show_tasks_with_instants_beyond_our_calendar(
    engine: AsyncEngine, beat: PostgresBeatStore, by_hand: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """The driver has no value for them, and would read no row of the page."""
    await write_many(by_hand, 2)
    await by_hand.execute(
        "UPDATE periodic_tasks SET start_at = '0044-03-15 BC', end_at = '12026-01-01', enabled_at = '-infinity',"
        " created_at = 'infinity', updated_at = 'infinity' WHERE name = 'task 0000'"
    )

    async with PostgresUnitOfWork(engine) as work:
        page = await work.periodic_tasks.page(PeriodicTaskFilter(), PageRequest())

    broken, sound = (each.task for each in page.records)
    assert isinstance(sound, PeriodicTask)
    assert isinstance(broken, UnreadableTask)
    assert broken.reason.count("is out of range") == 5
    assert broken in [each.task for each in (await beat.load()).defined]


@pytest.mark.parametrize(
    "args",
    ['["\\u0000"]', '["\\ud800"]', '{"\\udfff": 1}', "[1e400]", "[" * 25 + "]" * 25],
    ids=["NUL", "half a character", "half a character in a name", "huge", "deep"],
)
async def test_json_that_no_response_can_hold_is_shown_as_it_is_written(
    beat: PostgresBeatStore, by_hand: "asyncpg.Connection[asyncpg.Record]", args: str
) -> None:
    await write_many(by_hand, 1)
    await by_hand.execute("UPDATE periodic_tasks SET args = $1", args)

    (defined,) = (await beat.load()).defined

    assert isinstance(defined.task, UnreadableTask)
    assert defined.task.stored["args"] == args


async def test_a_reason_can_be_shown_with_any_name_in_it(
    beat: PostgresBeatStore, by_hand: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await write_many(by_hand, 1)
    await by_hand.execute("UPDATE periodic_tasks SET options = $1", '{"\\ud800\\u0000": 1}')

    (defined,) = (await beat.load()).defined

    assert isinstance(defined.task, UnreadableTask)
    assert defined.task.reason.startswith("options.?\ufffd")
