"""Periodic tasks that are written past us: by hand, in bulk, with wrong clocks, with any value of a column."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import bootstrap
from adapters.celery.publishing_options import CeleryPublishingOptionsPolicy
from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from application.paging import PageRequest
from application.ports.definition_feed import Changes, Mark
from application.ports.leader_lease import BeatId, BeatReport
from application.ports.periodic_tasks import PeriodicTaskFilter
from application.ports.run_claims import DueSlots, Published
from application.settings import (
    Environment,
    MongoSettings,
    PostgresSettings,
    RedisSettings,
    S3Settings,
    Settings,
)
from domain.scheduling.periodic_tasks import PeriodicTask, UnreadableTask
from domain.scheduling.slots import PeriodicTaskId
from tests.support.builders import A_MOMENT
from tests.support.scheduling_stores import PostgresBeatStore

OPTIONS = CeleryPublishingOptionsPolicy().problems


@pytest.fixture
def settings(postgres_url: str) -> PostgresSettings:
    return PostgresSettings(url=postgres_url, timeout=timedelta(seconds=10))


@pytest.fixture
async def engine(settings: PostgresSettings) -> AsyncIterator[AsyncEngine]:
    engine = postgres_engine(settings)
    yield engine
    await engine.dispose()


@pytest.fixture
async def beat(engine: AsyncEngine, settings: PostgresSettings) -> AsyncIterator[PostgresBeatStore]:
    store = PostgresBeatStore(engine, settings, check_options=OPTIONS)
    yield store
    await store.aclose()


async def run(engine: AsyncEngine, sql: str) -> None:
    async with aclosing(await connect(engine)) as connection:
        await connection.exec_driver_sql(sql)


async def begin(engine: AsyncEngine) -> AsyncConnection:
    """Return a connection on which nothing is committed by itself."""
    return await (await connect(engine)).execution_options(isolation_level="READ COMMITTED")


async def write(engine: AsyncEngine, name: str, **columns: str) -> None:
    """Insert a task that runs each hour, but for columns that SQL expressions say."""
    stored = {
        "task": "'a.task'",
        "kind": "'crontab'",
        "schedule": """'{"minute": "0"}'""",
        **columns,
    }
    names, values = ", ".join(stored), ", ".join(stored.values())
    async with aclosing(await connect(engine)) as connection:
        await connection.exec_driver_sql(
            f"INSERT INTO periodic_tasks (name, {names}) VALUES ($1, {values})",  # noqa: S608
            (name,),
        )


def names(changes: Changes) -> list[str]:
    return sorted(each.task.name for each in changes.defined)


async def caught_up(beat: PostgresBeatStore, mark: Mark) -> Mark:
    """Return a mark after which nothing comes that has come already.

    Marks lag behind the transactions of the whole server, which may have databases besides ours.
    """
    async with asyncio.timeout(10):
        while True:
            changes = await beat.changes(mark)
            if not changes.defined and not changes.deleted:
                return mark
            mark = changes.mark
            await asyncio.sleep(0.01)


# --- by hand ---

_MANY = """
INSERT INTO periodic_tasks (name, task, kind, schedule, created_at, updated_at)
SELECT 'n' || n, 't', 'interval', '{"every": 1, "period": "days"}', '1999-01-01', '1999-01-01'
  FROM generate_series(1, 3) AS n
"""
_UPSERT = """
INSERT INTO periodic_tasks (name, task, kind, schedule)
VALUES ('a', 't', 'interval', '{"every": 1, "period": "days"}')
    ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, schedule = excluded.schedule
"""


async def test_a_row_written_by_hand_needs_only_the_task_and_the_schedule(
    engine: AsyncEngine, beat: PostgresBeatStore
) -> None:
    await write(engine, "by hand")

    (defined,) = (await beat.load()).defined

    task = defined.task
    assert isinstance(task, PeriodicTask)
    assert task.enabled
    assert task.enabled_at == task.created_at == task.updated_at


@pytest.mark.parametrize(
    ("sql", "seen"),
    [
        ("UPDATE periodic_tasks SET enabled = false", ["a", "b", "c"]),
        ("UPDATE periodic_tasks SET updated_at = '1999-01-01' WHERE name = 'b'", ["b"]),
        ("UPDATE periodic_tasks SET updated_at = '2999-01-01' WHERE name = 'b'", ["b"]),
        ("UPDATE periodic_tasks SET changed_in = '7' WHERE name = 'b'", ["b"]),
        ("UPDATE periodic_tasks SET name = name WHERE name = 'b'", ["b"]),
        ("UPDATE periodic_tasks SET enabled = true WHERE name = 'nobody'", []),
        (_MANY, ["n1", "n2", "n3"]),
        (_UPSERT, ["a"]),
    ],
    ids=["bulk", "clock behind", "clock ahead", "forged", "no change", "none", "many", "upsert"],
)
async def test_every_committed_change_is_seen_from_any_writer(
    engine: AsyncEngine, beat: PostgresBeatStore, sql: str, seen: list[str]
) -> None:
    for name in "abc":
        await write(engine, name)
    mark = await caught_up(beat, (await beat.load()).mark)

    await run(engine, sql)

    changes = await beat.changes(mark)
    assert (names(changes), list(changes.deleted)) == (seen, [])


@pytest.mark.parametrize("sql", ["DELETE FROM periodic_tasks", "TRUNCATE periodic_tasks"])
async def test_tasks_that_are_removed_in_bulk_are_missed(
    engine: AsyncEngine, beat: PostgresBeatStore, sql: str
) -> None:
    for name in "abc":
        await write(engine, name)
    loaded = await beat.load()

    await run(engine, sql)

    changes = await beat.changes(loaded.mark)
    assert set(changes.deleted) == {each.task.id for each in loaded.defined}
    assert await beat.versions() == {}


async def test_changes_of_transactions_that_overlap_in_any_way_are_seen(
    engine: AsyncEngine, beat: PostgresBeatStore
) -> None:
    """Each commits after others that began later, and marks are taken in between."""
    for name in "abc":
        await write(engine, name)
    loaded = await beat.load()
    mark, seen = loaded.mark, set[str]()
    open_ = []
    for name in "abc":
        connection = await begin(engine)
        await connection.execute(
            text("UPDATE periodic_tasks SET description = 'new' WHERE name = :name"),
            {"name": name},
        )
        open_.append(connection)
        mark = (await beat.changes(mark)).mark
    for connection in reversed(open_):
        await connection.commit()
        await connection.aclose()
        changes = await beat.changes(mark)
        mark = changes.mark
        seen |= {
            each.task.name
            for each in changes.defined
            if isinstance(each.task, PeriodicTask) and each.task.definition.description == "new"
        }

    assert seen == {"a", "b", "c"}


async def test_a_transaction_that_stays_open_costs_the_changes_since_and_no_more(
    engine: AsyncEngine, beat: PostgresBeatStore
) -> None:
    for name in "abc":
        await write(engine, name)
    mark = await caught_up(beat, (await beat.load()).mark)
    async with aclosing(await begin(engine)) as idle:
        await idle.execute(text("SELECT pg_current_xact_id()"))
        mark = (await beat.changes(mark)).mark
        await run(engine, "UPDATE periodic_tasks SET enabled = false WHERE name = 'a'")
        for _ in range(2):
            changes = await beat.changes(mark)
            mark = changes.mark
            assert names(changes) == ["a"]

    await caught_up(beat, mark)


async def test_a_restored_dump_is_not_new_for_ever(
    engine: AsyncEngine, beat: PostgresBeatStore
) -> None:
    """It brings the numbers of another server's transactions, which may lie far ahead of ours."""
    await write(engine, "restored")
    await write(engine, "ours")
    await run(engine, "ALTER TABLE periodic_tasks DISABLE TRIGGER USER")
    try:
        await run(
            engine, "UPDATE periodic_tasks SET changed_in = '99999999999' WHERE name = 'restored'"
        )
    finally:
        await run(engine, "ALTER TABLE periodic_tasks ENABLE TRIGGER USER")
    loaded = await beat.load()
    assert names(loaded) == ["ours", "restored"]

    mark = await caught_up(beat, loaded.mark)

    await run(engine, "UPDATE periodic_tasks SET enabled = false WHERE name = 'restored'")
    assert names(await beat.changes(mark)) == ["restored"]


# --- what cannot be read ---


_BROKEN: dict[str, tuple[str, dict[str, str]]] = {
    "a minute that is none": ("schedule.minute", {"schedule": """'{"minute": "1,,2"}'"""}),
    "a minute that is an object": ("schedule.minute", {"schedule": """'{"minute": {"a": [1]}}'"""}),
    "a field of another kind": ("schedule.every", {"schedule": """'{"every": 3}'"""}),
    "a list for a schedule": ("schedule", {"schedule": "'[]'"}),
    "null for a schedule": ("schedule", {"schedule": "'null'"}),
    "text for a schedule": ("schedule", {"schedule": "to_jsonb(repeat('x', 1000000))"}),
    "a day that no month has": (
        "schedule.day_of_month",
        {"schedule": """'{"day_of_month": "30", "month_of_year": "2"}'"""},
    ),
    "a zone that is a path": (
        "schedule.timezone",
        {"schedule": """'{"timezone": "../../etc/passwd"}'"""},
    ),
    "a kind that is none": ("kind", {"kind": "'moon'"}),
    "no kind": ("kind", {"kind": "''"}),
    "a schedule of another kind": ("schedule.every", {"kind": "'interval'"}),
    "an interval of nothing": (
        "schedule.every",
        {"kind": "'interval'", "schedule": """'{"every": 0, "period": "days"}'"""},
    ),
    "an interval without end": (
        "schedule.every",
        {"kind": "'interval'", "schedule": """'{"every": 1e300, "period": "days"}'"""},
    ),
    "a word for an instant": (
        "schedule.at",
        {"kind": "'clocked'", "schedule": """'{"at": "tomorrow"}'"""},
    ),
    "an instant without an offset": (
        "schedule.at",
        {"kind": "'clocked'", "schedule": """'{"at": "2027-01-01T00:00:00"}'"""},
    ),
    "a place that is nowhere": (
        "schedule.latitude",
        {
            "kind": "'solar'",
            "schedule": """'{"event": "sunset", "latitude": 91, "longitude": 0}'""",
        },
    ),
    "an object for args": ("args", {"args": "'{}'"}),
    "null for args": ("args", {"args": "'null'"}),
    "text for args": ("args", {"args": "to_jsonb('text'::text)"}),
    "a number of 100 digits": ("args", {"args": "('[1' || repeat('0', 99) || ']')::json"}),
    "a number of 5,000 digits": ("args", {"args": "('[1' || repeat('0', 4999) || ']')::json"}),
    "a fraction beyond all floats": ("args", {"args": "'[1e400]'"}),
    "a character that is half of one": ("args", {"args": r"""'["\ud800"]'"""}),
    "a NUL": ("kwargs", {"kwargs": r"""'{"a": "\u0000"}'"""}),
    "an option that is no text": ("options", {"options": r"""'{"\ud800": 1}'"""}),
    "JSON of 100 levels": ("args", {"args": "(repeat('[', 100) || repeat(']', 100))::json"}),
    "JSON of 3,000 levels": ("args", {"args": "(repeat('[', 3000) || repeat(']', 3000))::json"}),
    "a list for kwargs": ("kwargs", {"kwargs": "'[]'"}),
    "a number for a queue": ("options.queue", {"options": """'{"queue": 3}'"""}),
    "an option that schedules": ("options.countdown", {"options": """'{"countdown": 3}'"""}),
    "a queue that the broker has for itself": (
        "options.queue",
        {"options": """'{"queue": "unacked"}'"""},
    ),
    "a list for options": ("options", {"options": "'[]'"}),
    "no task": ("task", {"task": "''"}),
    "a task without end": ("task", {"task": "repeat('x', 300)"}),
    "a description without end": ("description", {"description": "repeat('x', 3000)"}),
    "a misfire policy that is none": ("misfire", {"misfire": "'sometimes'"}),
    "jitter before the slot": ("jitter", {"jitter": "-1"}),
    "jitter that is no number": ("jitter", {"jitter": "'NaN'"}),
    "jitter without end": ("jitter", {"jitter": "'Infinity'"}),
    "grace before the slot": ("misfire_grace", {"misfire_grace": "'-Infinity'"}),
    "no runs": ("max_runs", {"max_runs": "0"}),
    "fewer than no runs at once": ("max_running", {"max_running": "-1"}),
    "an end before the start": ("end_at", {"start_at": "'2027-01-02Z'", "end_at": "'2027-01-01Z'"}),
}


@pytest.mark.parametrize("what", list(_BROKEN))
async def test_a_row_that_breaks_a_rule_is_shown_with_the_reason_and_stops_no_other(
    engine: AsyncEngine, beat: PostgresBeatStore, what: str
) -> None:
    reason, columns = _BROKEN[what]
    mark = (await beat.load()).mark
    await write(engine, "broken", **columns)
    await write(engine, "sound")

    async with PostgresUnitOfWork(engine, check_options=OPTIONS) as work:
        page = await work.periodic_tasks.page(PeriodicTaskFilter(), PageRequest())
    shown, other = (each.task for each in page.records)
    assert isinstance(other, PeriodicTask)
    assert isinstance(shown, UnreadableTask)
    assert reason in shown.reason
    for changes in (await beat.load(), await beat.changes(mark)):
        tasks = {each.task.name: each.task for each in changes.defined}
        assert tasks == {"broken": shown, "sound": other}
    # An answer can say it.
    assert json.dumps([shown.stored, shown.reason], ensure_ascii=False, allow_nan=False).encode()


async def test_every_process_reads_the_options_of_a_row_as_those_who_carry_its_message(
    engine: AsyncEngine, settings: PostgresSettings
) -> None:
    await write(engine, "broken", options="""'{"headers": {"task": "another"}}'""")

    container = bootstrap.build_without_keys(
        Settings(
            environment=Environment.TESTING,
            postgres=settings,
            redis=RedisSettings(url="redis://unused"),
            mongo=MongoSettings(url="mongodb://unused"),
            s3=S3Settings(url="http://unused", access_key="unused", secret_key="unused"),
        )
    )
    async with bootstrap.running(container), container.uow() as work:
        page = await work.periodic_tasks.page(PeriodicTaskFilter(), PageRequest())
        (defined,) = (await container.definition_feed().load()).defined

    assert page.records[0].task == defined.task
    assert isinstance(defined.task, UnreadableTask)
    assert defined.task.reason == "options.headers must not set task: Celery does"


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "x" * 300, "\u202eevil"], ids=ascii)
async def test_a_row_whose_name_breaks_the_rules_is_shown_all_the_same(
    engine: AsyncEngine, beat: PostgresBeatStore, name: str
) -> None:
    await write(engine, name)

    (defined,) = (await beat.load()).defined

    assert isinstance(defined.task, UnreadableTask)
    assert (defined.task.name, "name" in defined.task.reason) == (name, True)


@pytest.mark.parametrize("column", ["start_at", "end_at", "enabled_at", "created_at", "updated_at"])
@pytest.mark.parametrize("moment", ["infinity", "-infinity", "0044-03-15 BC", "12026-01-01"])
async def test_an_instant_that_no_calendar_of_ours_has_is_shown_as_out_of_range(
    engine: AsyncEngine, beat: PostgresBeatStore, column: str, moment: str
) -> None:
    await write(engine, "broken", **{column: f"'{moment}'"})
    await write(engine, "sound")

    tasks = {each.task.name: each.task for each in (await beat.load()).defined}

    assert isinstance(tasks["sound"], PeriodicTask)
    broken = tasks["broken"]
    assert isinstance(broken, UnreadableTask)
    assert column in broken.reason


# --- what it costs ---


async def test_a_thousand_slots_take_a_handful_of_statements(
    engine: AsyncEngine, beat: PostgresBeatStore
) -> None:
    """From the claim to the note that the broker has them."""
    leadership = await beat.lead(
        BeatId(UUID(int=1)), lease=timedelta(minutes=1), report=BeatReport(name="a beat")
    )
    assert leadership is not None
    due_slots = [
        DueSlots(task_id=PeriodicTaskId(UUID(int=n)), slots=[A_MOMENT], handled_until=A_MOMENT)
        for n in range(1000)
    ]
    said: list[str] = []

    def listen(_: object, __: object, statement: str, *___: object) -> None:
        said.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", listen)
    runs = await beat.claim(leadership, due_slots)
    await beat.record_published(
        [Published(run_id=run.id, at=A_MOMENT, deadline=None) for run in runs]
    )

    assert len(runs) == 1000
    assert len(said) == 2


@pytest.mark.parametrize("differ", ["in their names", "in their arguments"])
async def test_ten_thousand_definitions_are_loaded_bit_by_bit(
    engine: AsyncEngine, beat: PostgresBeatStore, differ: str
) -> None:
    kwargs = "'{}'" if differ == "in their names" else "json_build_object('customer', n)"
    await run(
        engine,
        "INSERT INTO periodic_tasks (name, task, kind, schedule, kwargs)"  # noqa: S608
        """ SELECT 'task ' || n, 't', 'crontab', jsonb_build_object('minute', (n % 60)::text), """
        f"{kwargs} FROM generate_series(1, 10000) AS n",
    )
    # The garbage collector looks at what the load makes, and not at what all tests before it have left.
    gc.collect()
    gc.freeze()
    held_up: list[float] = []

    async def live() -> None:
        while True:
            started = time.thread_time()
            await asyncio.sleep(0)
            held_up.append(time.thread_time() - started)

    other = asyncio.create_task(live())
    loaded = await beat.load()
    other.cancel()

    assert len(loaded.defined) == 10_000
    assert all(isinstance(each.task, PeriodicTask) for each in loaded.defined)
    assert await beat.versions() == {each.task.id: each.version for each in loaded.defined}
    # Of what was computed in one go, no piece was half of it; all at once would be all of it.
    pieces = [seconds for seconds in held_up if seconds > 0.001]
    assert max(pieces) < sum(pieces) / 2


@pytest.mark.parametrize("number", [0, 1, 1999, 2000, 2001, 4000])
async def test_however_many_definitions_there_are_all_are_loaded(
    engine: AsyncEngine, beat: PostgresBeatStore, number: int
) -> None:
    """Whichever ids they have."""
    await run(
        engine,
        "INSERT INTO periodic_tasks (id, name, task, kind, schedule)"  # noqa: S608
        " SELECT CASE n WHEN 1 THEN '00000000-0000-0000-0000-000000000000'"
        " WHEN 2 THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff' ELSE gen_random_uuid() END,"
        f" 'task ' || n, 't', 'crontab', '{{}}' FROM generate_series(1, {number}) AS n",
    )

    loaded = await beat.load()

    assert len({each.task.id for each in loaded.defined}) == len(loaded.defined) == number
    assert len(await beat.versions()) == number
