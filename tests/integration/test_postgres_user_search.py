"""Finding users by a keyword in PostgreSQL: whichever way it takes, what it finds is the same."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.transaction import Transaction
from adapters.postgres.user_search import UserSearch
from adapters.postgres.user_tables import users
from adapters.postgres.users import order_of_users, user_gateway
from application.paging import Page, PageRequest, Sort
from application.settings import PostgresSettings
from domain.identity import User

MOST = 60
"""What is counted here; then 2000 users are many."""

# About 1000 are the sample. Usernames begin with a letter, which says where in the order they stand.
_MANY_USERS = """
INSERT INTO users SELECT gen_random_uuid(), name, name, name || '@example.org', name || '@example.org',
       'Somebody', '$', CASE n % 5 WHEN 0 THEN 'disabled' ELSE 'active' END, false, false,
       now(), now(), now(), NULL, 'somebody'
  FROM (
    SELECT n, chr(97 + n * 26 / 2000) || lpad((n * 7 % 2000)::text, 4, '0')
              || CASE WHEN n % 2 = 0 THEN 'half' ELSE '' END
              || CASE WHEN n % 20 = 1 THEN 'spread' ELSE '' END
              || CASE WHEN n >= 1880 THEN 'late' ELSE '' END
              || CASE WHEN n % 100 = 3 THEN 'few' ELSE '' END
              || CASE WHEN n >= 1200 THEN 'last' ELSE '' END AS name
      FROM generate_series(0, 1999) AS n
  ) AS named
 ORDER BY hashint4(n)
"""

_NEW_USERS = """
INSERT INTO users SELECT gen_random_uuid(), name, name, name || '@example.org', name || '@example.org',
       'Somebody', '$', 'active', false, false, now(), now(), now(), NULL, 'somebody'
  FROM (SELECT 'newcomer' || n AS name FROM generate_series(1, 6000) AS n) AS named
"""

KEYWORDS = {
    "most": "@example",
    "half": "half",
    "one in twenty": "spread",
    "one in twenty, all of them at the end": "late",
    "one in a hundred": "few",
    "two in five, all of them at the end": "last",
    "one": "z1993",
    "those that start alike, at the end": "z",
    "those that start alike, at the beginning": "a0",
    "nobody, though all have its n-grams": "somesome",
}


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    engine = postgres_engine(PostgresSettings(url=postgres_url, timeout=timedelta(seconds=10)))
    async with aclosing(await connect(engine)) as connection:
        await connection.execute(text(_MANY_USERS))
        await connection.execute(text("ANALYZE users"))
    yield engine
    await engine.dispose()


class SearchForRare(UserSearch):
    """Its sample says that no user has the keyword."""

    share = 1 / 1_001

    async def _sample(self) -> tuple[float, float]:
        return self.share, 2_000.0


class SearchForCommon(SearchForRare):
    """Its sample says that everybody has the keyword."""

    share = 1.0


async def search(
    transaction: Transaction,
    keyword: str,
    page: PageRequest,
    *,
    only_active: bool,
    by: type[UserSearch] = UserSearch,
    limit: int = MOST,
) -> Page[User]:
    conditions = [users.c.status == "active"] if only_active else []
    records, order_by = user_gateway(transaction), order_of_users(page)
    found = by(transaction, records, keyword, conditions, order_by=order_by, limit=limit)
    return await found.page(page)


@pytest.mark.parametrize("only_active", [False, True])
@pytest.mark.parametrize(
    "sort", [Sort("username"), Sort("created_at", descending=True), Sort("name")], ids=str
)
async def test_every_way_of_searching_finds_the_same(
    engine: AsyncEngine, sort: Sort, *, only_active: bool
) -> None:
    async with aclosing(await connect(engine)) as connection:
        transaction = Transaction(connection)
        everybody = await user_gateway(transaction).all(
            order_by=order_of_users(PageRequest(sort=sort))
        )
        for case, keyword in KEYWORDS.items():
            expected = [
                user
                for user in everybody
                if (user.is_active or not only_active)
                and any(keyword in n for n in (user.username.key, user.email.key, user.name.key))
            ]
            for number, size in ((1, 10), (2, 10), (1, 100), (2, 100), (20, 100), (9, 7)):
                page = PageRequest(number=number, size=size, sort=sort)
                assert await search(transaction, keyword, page, only_active=only_active) == Page(
                    expected[page.offset : page.offset + size], min(len(expected), MOST)
                ), f"{case}, page {number} of {size}"


@pytest.mark.parametrize("by", [SearchForRare, SearchForCommon])
async def test_a_sample_that_misleads_changes_no_page(
    engine: AsyncEngine, by: type[UserSearch]
) -> None:
    async with aclosing(await connect(engine)) as connection:
        transaction = Transaction(connection)
        for case, keyword in KEYWORDS.items():
            for number, size in ((1, 10), (2, 100), (20, 100)):
                page = PageRequest(number=number, size=size)
                right = await search(transaction, keyword, page, only_active=False)
                misled = await search(transaction, keyword, page, only_active=False, by=by)
                assert misled == right, f"{case}, page {number} of {size}"


async def test_a_keyword_that_is_taken_for_rare_is_fetched_no_more_often_than_counted(
    engine: AsyncEngine,
) -> None:
    """The sample shows a thousand among a million as one or two, or as none: they may be many."""
    async with aclosing(await connect(engine)) as connection:
        (statement, given), *_ = await statements_of_a_search(
            connection, "half", by=SearchForRare, limit=MOST
        )
        await connection.execute(text("SET enable_seqscan = off"))  # as if the table were large
        plan = await connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", tuple(given)
        )

    (fetched,) = re.findall(r"Bitmap Heap Scan .*rows=(\d+)", "\n".join(plan.scalars()))
    assert int(fetched) == MOST


async def test_a_page_of_a_keyword_that_is_all_over_the_order_is_read_in_order(
    engine: AsyncEngine,
) -> None:
    """Its ten users are among 200 in order; to fetch and sort all hundred who have it costs more."""
    async with aclosing(await connect(engine)) as connection:
        sent = await statements_of_a_search(connection, "spread", by=UserSearch, limit=5)

    assert len(sent) == len(["the sample", "the page"])


async def statements_of_a_search(
    connection: AsyncConnection, keyword: str, *, by: type[UserSearch], limit: int
) -> Sequence[tuple[str, Sequence[object]]]:
    sent: list[tuple[str, Sequence[object]]] = []
    event.listen(
        connection.sync_connection,
        "before_cursor_execute",
        lambda _c, _cursor, statement, given, *_: sent.append((statement, given)),
    )
    page = PageRequest(size=10)
    await search(Transaction(connection), keyword, page, only_active=False, by=by, limit=limit)
    return list(sent)


async def test_users_who_are_not_shown_are_read_from_an_index_alone(engine: AsyncEngine) -> None:
    """Thousands may be read in order until a page is full; each would be a page of the table."""
    sent: list[tuple[str, Sequence[object]]] = []
    async with aclosing(await connect(engine)) as connection:
        await connection.commit()
        vacuuming = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await vacuuming.execute(text("VACUUM ANALYZE users"))
        event.listen(
            engine.sync_engine,
            "before_cursor_execute",
            lambda _c, _cursor, statement, given, *_: sent.append((statement, given)),
        )
        await search(
            Transaction(connection), "few", PageRequest(), only_active=False, by=SearchForCommon
        )
        (statement, given), *_ = sent
        # As if the table were large.
        for way in ("seqscan", "sort"):
            await connection.execute(text(f"SET enable_{way} = off"))
        plan = await connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {statement}", tuple(given))

    assert "Index Only Scan using ix_users_search" in "\n".join(plan.scalars())


async def test_the_sample_is_of_the_newest_users_too(engine: AsyncEngine) -> None:
    """Or a name that all new users have would be taken for rare, and each of them would be fetched."""
    async with aclosing(await connect(engine)) as connection:
        await connection.execute(text(_NEW_USERS))
        await connection.execute(text("ANALYZE users"))
        transaction, page = Transaction(connection), PageRequest()
        newcomers = UserSearch(
            transaction, user_gateway(transaction), "newcomer", [], order_by=order_of_users(page)
        )
        share, everybody = await newcomers._sample()

    assert everybody == 8_000
    assert 0.5 < share < 0.95
