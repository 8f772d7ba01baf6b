"""PgBouncer before PostgreSQL: session mode works; so does transaction mode where it can, and else it is refused."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import text

from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.health import PostgresProbe
from adapters.postgres.scheduling.tables import SCHEDULING_CHANNEL
from adapters.postgres.schema import PostgresSchema
from application.settings import PostgresSettings
from domain.errors import Unavailable
from tests.support.pgbouncer import MISSING, PgBouncer, program, version
from tests.support.scheduling_stores import PostgresBeatStore

pytestmark = pytest.mark.skipif(program() is None, reason=MISSING)

TIMEOUT = timedelta(seconds=10)


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def transactions(postgres_url: str, tmp_path: Path) -> Iterator[PgBouncer]:
    with PgBouncer(tmp_path, postgres_url, "transaction") as pgbouncer:
        yield pgbouncer


def probe(opened: AsyncExitStack, settings: PostgresSettings) -> PostgresProbe:
    engine = postgres_engine(settings)
    opened.push_async_callback(engine.dispose)
    return PostgresProbe(engine, settings)


async def refusal(opened: AsyncExitStack, settings: PostgresSettings) -> str:
    """Return why the probe does not say that PostgreSQL can be used."""
    with pytest.raises(Unavailable) as refused:
        await probe(opened, settings).check()
    return refused.value.reason or ""


async def test_session_mode_needs_no_setting_and_keeps_ours(
    opened: AsyncExitStack, postgres_url: str, tmp_path: Path
) -> None:
    """Of a pooler as it comes: it would refuse a connection that brings them along. Beats hear of changes, too."""
    with PgBouncer(tmp_path, postgres_url, "session") as pgbouncer:
        settings = PostgresSettings(url=pgbouncer.url, timeout=TIMEOUT)
        await probe(opened, settings).check()
        assert await PostgresSchema(settings).is_current()

        engine = postgres_engine(settings)
        opened.push_async_callback(engine.dispose)
        async with aclosing(await connect(engine)) as connection:
            kept = await connection.scalar(text("SHOW idle_in_transaction_session_timeout"))
        assert kept == "30s"
        await hears_of_changes(PostgresBeatStore(engine, settings), postgres_url)


async def test_transaction_mode_alone_is_refused_with_what_to_do(
    opened: AsyncExitStack, transactions: PgBouncer
) -> None:
    reason = await refusal(opened, PostgresSettings(url=transactions.url, timeout=TIMEOUT))

    assert "PORTICO_POSTGRES_URL leads to a pooler in transaction mode" in reason
    assert "set PORTICO_POSTGRES_DIRECT_URL" in reason


async def test_a_direct_address_that_is_none_is_refused(
    opened: AsyncExitStack, transactions: PgBouncer
) -> None:
    url = transactions.url
    settings = PostgresSettings(url=url, direct_url=url, timeout=TIMEOUT)

    assert "PORTICO_POSTGRES_DIRECT_URL leads to a pooler in transaction mode" in await refusal(
        opened, settings
    )


async def test_transaction_mode_with_a_direct_address_works_where_statements_are_kept(
    opened: AsyncExitStack, transactions: PgBouncer, postgres_url: str
) -> None:
    """From PgBouncer 1.21 on, if the role ends transactions that idle; an older one is refused before it does harm."""
    settings = PostgresSettings(
        url=transactions.url, direct_url=postgres_url, pool_size=5, timeout=TIMEOUT
    )
    if version() < (1, 21):
        assert "loses prepared statements" in await refusal(opened, settings)
        return
    assert "ALTER ROLE" in await refusal(opened, settings)

    database = urlsplit(postgres_url).path[1:]
    admin = await asyncpg.connect(postgres_url)
    opened.push_async_callback(admin.close)
    alter = f"ALTER DATABASE {database}"
    await admin.execute(f"{alter} SET idle_in_transaction_session_timeout = '20s'")
    opened.push_async_callback(admin.execute, f"{alter} RESET idle_in_transaction_session_timeout")
    with PgBouncer(transactions.directory, postgres_url, "transaction") as fresh:
        settings = replace(settings, url=fresh.url)
        await probe(opened, settings).check()
        engine = postgres_engine(settings)
        opened.push_async_callback(engine.dispose)

        async def ask(number: int) -> int:
            async with aclosing(await connect(engine)) as connection:
                question = text("SELECT CAST(:number AS int)")
                return int(await connection.scalar(question, {"number": number}) or 0)

        assert await asyncio.gather(*map(ask, range(100))) == [*range(100)]
        direct = postgres_engine(settings.direct)
        opened.push_async_callback(direct.dispose)
        await hears_of_changes(PostgresBeatStore(direct, settings.direct), postgres_url)


async def hears_of_changes(store: PostgresBeatStore, postgres_url: str) -> None:
    await store.changed()  # the first time it cannot know
    hearing = asyncio.create_task(store.changed())
    admin = await asyncpg.connect(postgres_url)
    try:
        while not hearing.done():
            await admin.execute(f"NOTIFY {SCHEDULING_CHANNEL}")
            await asyncio.wait({hearing}, timeout=0.1)
        await hearing
    finally:
        await admin.close()
        await store.aclose()
