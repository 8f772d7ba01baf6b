"""How many statements PostgreSQL gets for what is asked often, and what is not written when nothing has changed."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import postgres_engine
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from application.paging import PageRequest
from application.ports.users import UserFilter
from application.settings import PostgresSettings
from domain.permissions import Route
from domain.scheduling.registered_tasks import RegisteredTask
from tests.support.builders import A_MOMENT, a_role, a_user
from tests.support.statements import statements

ROUTES = [Route(method="GET", path=f"/api/v1/{n}", name=f"route_{n}") for n in range(30)]


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    engine = postgres_engine(PostgresSettings(url=postgres_url, timeout=timedelta(seconds=10)))
    yield engine
    await engine.dispose()


async def test_the_access_of_a_user_and_the_roles_of_many_are_one_statement_each(
    engine: AsyncEngine,
) -> None:
    users, roles = [a_user() for _ in range(5)], [a_role("GET:/a", "*:/b/**") for _ in range(5)]
    async with PostgresUnitOfWork(engine) as work:
        for user, role in zip(users, roles, strict=True):
            await work.users.add(user)
            await work.roles.add(role)
        for user in users:
            await work.roles.assign(user.id, [role.id for role in roles])
        await work.commit()

    async with PostgresUnitOfWork(engine) as work:
        with statements(engine) as said:
            access = await work.roles.access_of(users[0].id)
        assert access is not None
        assert said == ["SELECT"]
        with statements(engine) as said:
            found = await work.roles.of_users([user.id for user in users])
        assert len(found) == 5
        assert said == ["SELECT"]


async def test_finding_the_user_of_a_name_takes_one_statement_and_one_full_row_even_without_one(
    engine: AsyncEngine,
) -> None:
    """Otherwise the time until an attempt is refused tells which names exist."""
    values: list[int] = []

    def count(cursor: Any, *_: Any) -> None:
        (row,) = cursor._rows
        values.append(sum(value is not None for value in row))

    user = a_user(username="lovelace", email="ada@example.org")
    async with PostgresUnitOfWork(engine) as work:
        await work.users.add(user)
        await work.commit()
    event.listen(engine.sync_engine, "after_cursor_execute", lambda _, cursor, *__: count(cursor))
    async with PostgresUnitOfWork(engine) as work:
        for name in ("lovelace", "ada@example.org", "nobody.else", "no@example.org", "no name"):
            with statements(engine) as said:
                await work.users.find_account(name)
            assert said == ["SELECT"]
    assert values == [values[0]] * 2 + [values[0] - 1] * 3  # without an id


@pytest.mark.parametrize(
    ("which", "size", "most"),
    [
        (UserFilter(), 100, 1),
        (UserFilter(), 10, 2),
        (UserFilter(keyword="user-"), 100, 3),
        (UserFilter(keyword="nobody"), 100, 3),
    ],
    ids=["all on one page", "many pages", "many of a keyword", "few of a keyword"],
)
async def test_a_page_is_few_statements(
    engine: AsyncEngine, which: UserFilter, size: int, most: int
) -> None:
    async with PostgresUnitOfWork(engine) as work:
        for _ in range(20):
            await work.users.add(a_user())
        await work.commit()

        with statements(engine) as said:
            await work.users.page(which, PageRequest(size=size))
    assert len(said) <= most


async def test_syncing_writes_what_has_changed_and_nothing_else(engine: AsyncEngine) -> None:
    async def sync(routes: list[Route]) -> list[str]:
        async with PostgresUnitOfWork(engine) as work:
            with statements(engine) as said:
                ids = [UUID(int=n) for n in range(len(routes))]
                await work.permissions.sync(routes, ids=ids, at=A_MOMENT)
                await work.commit()
        return [word for word in said if word != "SELECT"]

    reworded = Route(method="GET", path="/api/v1/0", name="other")

    assert await sync(ROUTES) == ["INSERT"]
    assert await sync(ROUTES) == []
    assert await sync(ROUTES[::-1]) == []
    assert await sync([reworded, *ROUTES[1:]]) == ["UPDATE"]
    assert await sync(ROUTES[:-2]) == ["UPDATE"] * 3
    assert await sync(ROUTES[:-2]) == []


async def test_workers_that_offer_what_they_offered_write_one_row(engine: AsyncEngine) -> None:
    async def offer(*names: str) -> list[str]:
        async with PostgresUnitOfWork(engine) as work:
            with statements(engine) as said:
                tasks = [RegisteredTask(name=name) for name in names]
                await work.registered_tasks.offer("worker", tasks, lasts=timedelta(minutes=3))
                await work.commit()
        return [word for word in said if word != "SELECT"]

    assert await offer("a", "b") == ["UPDATE", "INSERT", "INSERT", "DELETE", "DELETE"]
    assert await offer("a", "b") == ["UPDATE"]
