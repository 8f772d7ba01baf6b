"""Rooms among very many, where every frequent query uses an index, and many changes of rooms at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from application.paging import PageRequest, Sort
from application.ports.rooms import RoomRepository
from application.settings import PostgresSettings
from domain.rooms import Room, RoomKind, RoomName
from tests.support.builders import a_room, a_user
from tests.support.world import World

ADA = a_user()
HERS: Room = a_room(kind=RoomKind.PRIVATE, owner=ADA.id)

_MANY = """
INSERT INTO users SELECT gen_random_uuid(), 'member-' || n, 'member-' || n, 'member-' || n || '@example.org',
       'member-' || n || '@example.org', 'User', '$', 'active', false, false, now(), now(), now()
  FROM generate_series(1, 1000) AS n;
INSERT INTO rooms SELECT gen_random_uuid(), 'room ' || n, 'room ' || n,
       CASE WHEN n % 10 = 0 THEN 'open' ELSE 'private' END, NULL, now() - n * interval '1 minute'
  FROM generate_series(1, 8000) AS n;
INSERT INTO room_members SELECT r.id, u.id FROM
  (SELECT id, row_number() OVER () AS n FROM rooms WHERE kind = 'private') AS r
  JOIN (SELECT id, row_number() OVER () AS n FROM users) AS u ON u.n IN (r.n % 1000, r.n % 999)
  ON CONFLICT DO NOTHING;
ANALYZE users; ANALYZE rooms; ANALYZE room_members
"""

QUERIES: dict[str, Callable[[RoomRepository], Awaitable[object]]] = {
    "find": lambda rooms: rooms.find(HERS.id, seen_by=ADA.id),
    "first page": lambda rooms: rooms.page(PageRequest(), seen_by=ADA.id),
    "by time": lambda rooms: rooms.page(
        PageRequest(3, 100, Sort("created_at", descending=True)), seen_by=ADA.id
    ),
    "count of owned": lambda rooms: rooms.count_owned(ADA.id),
    "members": lambda rooms: rooms.members(HERS.id, PageRequest()),
}


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    engine = postgres_engine(PostgresSettings(url=postgres_url, timeout=timedelta(seconds=30)))
    async with PostgresUnitOfWork(engine) as work:
        await work.users.add(ADA)
        await work.rooms.add(HERS)
        await work.commit()
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(_MANY)
    await connection.close()
    yield engine
    await engine.dispose()


async def test_frequent_queries_use_an_index(engine: AsyncEngine) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    async with PostgresUnitOfWork(engine) as work:
        for query in QUERIES.values():
            await query(work.rooms)
    event.remove(engine.sync_engine, "before_cursor_execute", note)

    scans = []
    async with aclosing(await connect(engine)) as connection:
        for statement, parameters in asked:
            if statement.startswith("SELECT"):
                plan = await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
                lines = plan.scalars().all()
                scans += [(statement, line) for line in lines if "Seq Scan" in line]
    assert len(asked) >= len(QUERIES)
    assert scans == []


async def test_many_changes_of_one_user_at_once_leave_connections_to_others(
    world: World, postgres_url: str
) -> None:
    """They wait for each other, but not each with a connection of the pool."""
    ada, _ = await world.log_in_as(await world.given(ADA))
    engine = postgres_engine(PostgresSettings(url=postgres_url, pool_size=3))
    async with PostgresUnitOfWork(engine) as work:
        await work.users.add(ADA)
        await work.commit()
    create_room = replace(world.container.create_room(), uow=lambda: PostgresUnitOfWork(engine))

    async with PostgresUnitOfWork(engine) as before:
        await before.users.lock(ADA.id)
        creating = [
            asyncio.create_task(create_room(ada, RoomName("Tea"), RoomKind.OPEN)) for _ in range(9)
        ]
        await asyncio.sleep(0)  # now all have begun
        async with PostgresUnitOfWork(engine) as other:
            assert await other.rooms.count_owned(ADA.id) == 0

    await asyncio.gather(*creating)
    async with PostgresUnitOfWork(engine) as work:
        assert await work.rooms.count_owned(ADA.id) == 9
    await engine.dispose()
