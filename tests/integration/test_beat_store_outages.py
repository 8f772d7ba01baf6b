"""What a beat notices of a database that freezes, hangs up or is not there."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.scheduling.task_runs import PostgresRunLog
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from application.ports.definition_feed import Mark
from application.ports.leader_lease import BeatId, BeatReport
from application.ports.run_claims import DueSlots
from application.ports.run_log import Begun
from application.settings import PostgresSettings
from domain.errors import Unavailable
from domain.scheduling.slots import PeriodicTaskId
from domain.scheduling.task_runs import RunId
from tests.support.builders import A_MOMENT, a_periodic_task
from tests.support.link import Link, link_to
from tests.support.scheduling_stores import PostgresBeatStore
from tests.support.waiting import waits

IMPATIENT = timedelta(seconds=1.5)
SOON = 6.0
TASK = PeriodicTaskId(UUID(int=11))


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    engine = postgres_engine(PostgresSettings(url=postgres_url, timeout=timedelta(seconds=10)))
    yield engine
    await engine.dispose()


@pytest.fixture
async def link(postgres_url: str) -> AsyncIterator[Link]:
    async with link_to(postgres_url) as link:
        yield link


@pytest.fixture
def settings(postgres_url: str, link: Link) -> PostgresSettings:
    return PostgresSettings(url=link.url(postgres_url), timeout=IMPATIENT, pool_size=2)


@pytest.fixture
async def linked(settings: PostgresSettings) -> AsyncIterator[AsyncEngine]:
    engine = postgres_engine(settings)
    yield engine
    await engine.dispose()


@pytest.fixture
async def beat(linked: AsyncEngine, settings: PostgresSettings) -> AsyncIterator[PostgresBeatStore]:
    """Return a store behind a link that can be broken."""
    store = PostgresBeatStore(linked, settings, keepalive=timedelta(seconds=1))
    yield store
    await store.aclose()


async def hearing(beat: PostgresBeatStore) -> asyncio.Task[None]:
    """Return what ends with the next hint."""
    while True:
        hint = asyncio.create_task(beat.changed())
        if await waits(hint):
            return hint
        await hint


async def define(engine: AsyncEngine) -> None:
    async with PostgresUnitOfWork(engine) as work:
        await work.periodic_tasks.add(a_periodic_task())
        await work.commit()


async def test_every_call_to_a_frozen_database_is_unavailable_before_long(
    beat: PostgresBeatStore, linked: AsyncEngine, link: Link
) -> None:
    leadership = await beat.lead(
        BeatId(UUID(int=1)), lease=timedelta(minutes=1), report=BeatReport(name="a beat")
    )
    assert leadership is not None
    begun = Begun(
        run_id=RunId(UUID(int=2)), task_id=TASK, scheduled_for=A_MOMENT, at=A_MOMENT, worker="w"
    )
    due_slots = [DueSlots(task_id=TASK, slots=[A_MOMENT], handled_until=A_MOMENT)]
    link.freeze()

    started = time.monotonic()
    answers = await asyncio.gather(
        beat.load(),
        beat.changes(Mark(1)),
        beat.versions(),
        beat.schedule_states(),
        beat.claim(leadership, due_slots),
        beat.record_published_offline(due_slots, []),
        beat.changed(),
        PostgresRunLog(linked).begin(begun),
        return_exceptions=True,
    )

    assert {type(answer) for answer in answers} == {Unavailable}
    assert time.monotonic() - started < SOON
    link.thaw()
    link.reroute()
    assert len(await beat.claim(leadership, due_slots)) == 1


async def test_without_a_database_there_are_no_notifications(
    linked: AsyncEngine, settings: PostgresSettings, unused_tcp_port: int
) -> None:
    nowhere = replace(settings, url=f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/x")

    with pytest.raises(Unavailable):
        await PostgresBeatStore(linked, nowhere).changed()


async def test_a_listener_notices_a_lost_connection_and_listens_again(
    beat: PostgresBeatStore, engine: AsyncEngine, link: Link
) -> None:
    hint = await hearing(beat)

    await link.cut()
    await asyncio.wait([hint], timeout=SOON)
    assert hint.done()
    with pytest.raises(Unavailable):
        await beat.changed()

    await link.mend()
    again = await hearing(beat)
    await define(engine)
    async with asyncio.timeout(SOON):
        await again


async def test_a_connection_that_died_in_silence_is_found_out(
    beat: PostgresBeatStore, engine: AsyncEngine, link: Link
) -> None:
    """As behind a router that forgot it: nothing comes, and no error says so."""
    hint = await hearing(beat)
    link.freeze()

    with pytest.raises(Unavailable):
        async with asyncio.timeout(SOON):
            await hint

    link.reroute()
    again = await hearing(beat)
    await define(engine)
    async with asyncio.timeout(SOON):
        await again


async def test_waiting_for_hints_stops_at_once_when_it_is_cancelled(
    beat: PostgresBeatStore, link: Link
) -> None:
    """However the database is."""
    hint = await hearing(beat)
    link.freeze()
    started = time.monotonic()

    hint.cancel()
    await asyncio.wait([hint])

    assert hint.cancelled()
    assert time.monotonic() - started < 0.5


async def test_silence_is_not_a_change(beat: PostgresBeatStore) -> None:
    hint = await hearing(beat)

    await asyncio.wait([hint], timeout=2.5)

    assert not hint.done()
    hint.cancel()


_LISTENING = """
SELECT count(*) FROM pg_stat_activity
 WHERE query LIKE 'LISTEN %' AND datname = current_database()
"""


async def test_the_connection_of_hints_is_one_and_is_given_back(
    beat: PostgresBeatStore, engine: AsyncEngine
) -> None:
    async def listening() -> int:
        async with aclosing(await connect(engine)) as connection:
            return int(await connection.scalar(text(_LISTENING)))

    for _ in range(3):
        hint = await hearing(beat)
        await define(engine)
        await hint
        assert await listening() == 1
    await beat.aclose()

    async with asyncio.timeout(SOON):
        while await listening():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
