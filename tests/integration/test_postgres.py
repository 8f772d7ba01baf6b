"""How PostgreSQL is reached, and what happens when it is slow, frozen, restarted or gone."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.schema import PostgresSchema
from adapters.postgres.transaction import Transaction
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from adapters.postgres.user_tables import users
from adapters.postgres.users import to_row
from application.settings import PostgresSettings
from domain.errors import Unavailable
from domain.identity import PersonName, User, UserNotFound
from local_stack.lock import locked
from local_stack.stack import local_stack
from tests.support.builders import A_MOMENT, a_role, a_user, an_audit_entry
from tests.support.given import given
from tests.support.link import Link, link_to
from tests.support.readme import ROOT, blocks
from tests.support.waiting import until

IMPATIENT = timedelta(seconds=1.5)
SOON = 6.0
"""Seconds; well over `IMPATIENT`, far less than forever: the machine may be busy."""


@pytest.fixture
async def engines() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def settings(postgres_url: str) -> PostgresSettings:
    return PostgresSettings(url=postgres_url, timeout=timedelta(seconds=10), pool_size=3)


def engine_of(settings: PostgresSettings, engines: AsyncExitStack) -> AsyncEngine:
    engine = postgres_engine(settings)
    engines.push_async_callback(engine.dispose)
    return engine


@pytest.fixture
def engine(settings: PostgresSettings, engines: AsyncExitStack) -> AsyncEngine:
    return engine_of(settings, engines)


@pytest.fixture
async def link(postgres_url: str) -> AsyncIterator[Link]:
    async with link_to(postgres_url) as link:
        yield link


@pytest.fixture
def linked(settings: PostgresSettings, link: Link, engines: AsyncExitStack) -> AsyncEngine:
    """Return an impatient engine behind a link that can be frozen."""
    return engine_of(
        replace(settings, url=link.url(settings.url or ""), timeout=IMPATIENT), engines
    )


async def fill(engine: AsyncEngine) -> None:
    """Open every connection of the pool."""
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(PostgresUnitOfWork(engine))


async def value(engine: AsyncEngine, sql: str) -> Any:
    async with aclosing(await connect(engine)) as connection:
        return await connection.scalar(text(sql))


async def until_true(engine: AsyncEngine, sql: str) -> None:
    """Wait until the server says that the condition holds."""
    await until(lambda: value(engine, f"SELECT {sql}"), within=SOON)


# --- how it is reached ---


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "sslmode=disable",
        "sslmode=prefer&application_name=somebody&options=-c%20geqo%3Doff",
        "connect_timeout=3&keepalives=1&keepalives_idle=30&channel_binding=prefer&gssencmode=disable",
        "ssl=prefer&pgbouncer=true&prepared_statement_cache_size=0",
        "target_session_attrs=read-write&fallback_application_name=x&sslsni=1",
    ],
)
async def test_the_url_may_say_what_libpq_understands(
    settings: PostgresSettings, engines: AsyncExitStack, scheme: str, query: str
) -> None:
    url = urlsplit(settings.url or "")._replace(scheme=scheme, query=query).geturl()

    assert await value(engine_of(replace(settings, url=url), engines), "SELECT 1") == 1


async def test_everything_may_be_in_the_query_of_the_url(
    settings: PostgresSettings, engines: AsyncExitStack
) -> None:
    parts = urlsplit(settings.url or "")
    query = urlencode(
        {
            "host": parts.hostname,
            "port": parts.port,
            "user": parts.username,
            "password": parts.password or "",
            "dbname": parts.path[1:],
        }
    )

    engine = engine_of(replace(settings, url=f"postgresql://?{query}"), engines)

    assert await value(engine, "SELECT current_database()") == parts.path[1:]


async def test_the_host_may_be_the_directory_of_a_socket(
    tmp_path: Path, engines: AsyncExitStack
) -> None:
    reached = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    directory = tmp_path / "a b&c"
    directory.mkdir()
    server = await asyncio.start_unix_server(answer, directory / ".s.PGSQL.5433")
    url = f"postgresql://portico@/portico?host={quote(str(directory), safe='')}&port=5433"
    engine = engine_of(PostgresSettings(url=url), engines)

    with pytest.raises(Unavailable):
        await value(engine, "SELECT 1")

    assert reached.is_set()
    server.close()
    await server.wait_closed()


async def test_nothing_connects_before_it_is_needed(engines: AsyncExitStack) -> None:
    engine_of(PostgresSettings(url="postgresql://nobody@host.invalid/nothing"), engines)


async def test_a_session_has_the_name_and_the_limits_of_the_service(
    settings: PostgresSettings, engines: AsyncExitStack
) -> None:
    engine = engine_of(replace(settings, timeout=timedelta(seconds=2)), engines)
    expected = {
        "application_name": "portico",
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        "statement_timeout": "1800ms",
        "idle_in_transaction_session_timeout": "30s",
    }

    assert {name: await value(engine, f"SHOW {name}") for name in expected} == expected


async def test_the_pool_never_has_more_connections_than_allowed(engine: AsyncEngine) -> None:
    async def use() -> int:
        async with PostgresUnitOfWork(engine) as work:
            await work.users.find(a_user().id)
        return int(await value(engine, _CONNECTIONS))

    assert max(await asyncio.gather(*(use() for _ in range(30)))) <= 3


_CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'portico'
"""


# --- how often it is asked ---


async def test_reading_costs_one_round_trip(linked: AsyncEngine, link: Link) -> None:
    user = a_user(username="lovelace")
    await given(lambda: PostgresUnitOfWork(linked), user)
    for number in range(3):  # the first time the server is asked what the columns are
        before = link.questions
        async with PostgresUnitOfWork(linked) as work:
            await work.users.find(user.id)
        assert number == 0 or link.questions - before == 1

    before = link.questions
    async with PostgresUnitOfWork(linked) as work:
        await work.users.find(user.id)
        await work.users.find(user.id)
        await work.commit()
    assert link.questions - before == 2


async def test_writing_costs_one_round_trip_more_at_the_start_and_at_the_end(
    linked: AsyncEngine, link: Link
) -> None:
    user = a_user()
    await given(lambda: PostgresUnitOfWork(linked), user)
    spent = []
    for _ in range(3):
        before = link.questions
        async with PostgresUnitOfWork(linked) as work:
            roles = await work.users.record_login(
                user, rehashed=None, at=A_MOMENT, entry=an_audit_entry()
            )
            assert roles == []
            await work.commit()
        spent.append(link.questions - before)

    assert spent[1:] == [3, 3]


async def test_frequent_queries_use_an_index(
    engine: AsyncEngine, subtests: pytest.Subtests
) -> None:
    async with aclosing(await connect(engine)) as connection:
        await connection.execute(text(_MANY_USERS))
        await connection.execute(text("ANALYZE users"))
        for condition in _FREQUENT:
            plan = await connection.scalars(text(f"EXPLAIN SELECT FROM users WHERE {condition}"))
            with subtests.test(condition):
                assert "Seq Scan" not in "\n".join(plan)


_MANY_USERS = """
INSERT INTO users SELECT gen_random_uuid(), 'user-' || n, 'user-' || n, 'user-' || n || '@example.org',
       'user-' || n || '@example.org', 'User', '$', 'active', n = 7, false, now(), now(), now()
  FROM generate_series(1, 20000) AS n
"""
_FREQUENT = (
    "username_key = 'user-50000'",
    "email_key = 'user-50000@example.org'",
    "is_admin AND status = 'active'",
    "status = 'disabled'",
    "ngrams(ARRAY[username_key, email_key, name_key]) @> '{r-5}'",
)


# --- errors ---


async def test_a_mistake_of_ours_is_not_called_unavailable(engine: AsyncEngine) -> None:
    async with PostgresUnitOfWork(engine), aclosing(await connect(engine)) as connection:
        with pytest.raises(ProgrammingError):
            await connection.execute(text("SELECT no_such_column FROM users"))


async def test_an_unknown_conflict_is_raised_as_it_is(engine: AsyncEngine) -> None:
    async with aclosing(await connect(engine)) as connection:
        transaction = Transaction(connection)
        with pytest.raises(IntegrityError, match="ck_users_status"):
            await transaction.write(insert(users).values(to_row(a_user()) | {"status": "asleep"}))
        with pytest.raises(IntegrityError, match="ck_users_status"):
            await transaction.commit()


async def test_errors_do_not_repeat_what_was_to_be_stored(engine: AsyncEngine) -> None:
    secret = "$argon2id$secret"
    async with aclosing(await connect(engine)) as connection:
        with pytest.raises(IntegrityError) as error:
            await connection.execute(
                insert(users).values(to_row(a_user(password_hash=secret)) | {"status": "asleep"})
            )

    assert error.value.hide_parameters
    assert secret not in str(error.value)


# --- too slow ---


async def test_a_statement_that_takes_too_long_is_cancelled_and_costs_no_connection(
    settings: PostgresSettings, engines: AsyncExitStack
) -> None:
    engine = engine_of(replace(settings, timeout=IMPATIENT, pool_size=1), engines)
    session = await value(engine, "SELECT pg_backend_pid()")
    started = time.monotonic()

    with pytest.raises(Unavailable):
        await value(engine, "SELECT pg_sleep(60)")

    assert time.monotonic() - started < SOON
    assert await value(engine, "SELECT pg_backend_pid()") == session


async def test_waiting_for_a_lock_ends_with_the_time_out(
    settings: PostgresSettings, engines: AsyncExitStack
) -> None:
    engine = engine_of(replace(settings, timeout=IMPATIENT), engines)
    user = a_user()
    await given(lambda: PostgresUnitOfWork(engine), user)

    async with PostgresUnitOfWork(engine) as holder:
        await holder.users.lock(user.id)
        async with PostgresUnitOfWork(engine) as other:
            with pytest.raises(Unavailable):
                await other.users.lock(user.id)
            with pytest.raises(Unavailable):
                await other.commit()

    async with PostgresUnitOfWork(engine) as work:
        assert await work.users.lock(user.id) == user


async def test_of_two_transactions_in_a_deadlock_one_is_unavailable(
    engine: AsyncEngine,
) -> None:
    first, second = a_user(), a_user()
    await given(lambda: PostgresUnitOfWork(engine), first, second)
    together = asyncio.Barrier(2)

    async def lock_both(one: User, other: User) -> None:
        async with PostgresUnitOfWork(engine) as work:
            await work.users.lock(one.id)
            await together.wait()
            await work.users.lock(other.id)

    results = await asyncio.gather(
        lock_both(first, second), lock_both(second, first), return_exceptions=True
    )

    assert {type(result) for result in results} == {type(None), Unavailable}


async def test_when_every_connection_is_in_use_the_next_one_waits_no_longer_than_the_time_out(
    settings: PostgresSettings, engines: AsyncExitStack
) -> None:
    engine = engine_of(replace(settings, timeout=IMPATIENT, pool_size=1), engines)
    async with PostgresUnitOfWork(engine):
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await value(engine, "SELECT 1")
        assert IMPATIENT.total_seconds() * 0.9 < time.monotonic() - started < SOON

    assert await value(engine, "SELECT 1") == 1


# --- not there ---


async def test_a_server_that_is_not_there_is_unavailable_at_once(
    engines: AsyncExitStack, unused_tcp_port: int
) -> None:
    engine = engine_of(
        PostgresSettings(url=f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/x"), engines
    )
    started = time.monotonic()

    with pytest.raises(Unavailable) as error:
        async with PostgresUnitOfWork(engine):
            pytest.fail("there is nothing to work with")

    assert time.monotonic() - started < 1
    assert error.value.dependency == "PostgreSQL"
    assert isinstance(error.value.__cause__, OSError)


@pytest.mark.parametrize(
    "change", [{"path": "/no_such_database"}, {"netloc": "nobody:wrong@{host}:{port}"}]
)
async def test_a_server_that_does_not_let_us_in_is_unavailable(
    settings: PostgresSettings, engines: AsyncExitStack, change: dict[str, str]
) -> None:
    parts = urlsplit(settings.url or "")
    changed = {
        part: value.format(host=parts.hostname, port=parts.port) for part, value in change.items()
    }
    engine = engine_of(replace(settings, url=parts._replace(**changed).geturl()), engines)

    with pytest.raises(Unavailable) as error:
        await value(engine, "SELECT 1")

    assert isinstance(error.value.__cause__, DBAPIError)  # for the reader of the log


async def test_a_server_that_takes_no_writes_is_unavailable_for_them(
    settings: PostgresSettings, engines: AsyncExitStack
) -> None:
    """As the old primary is after a fail-over."""
    url = f"{settings.url}?default_transaction_read_only=on"
    engine = engine_of(replace(settings, url=url), engines)
    user = a_user()

    async with PostgresUnitOfWork(engine) as work:
        assert await work.users.find(user.id) is None
        with pytest.raises(Unavailable):
            await work.users.add(user)


# --- frozen ---


async def test_a_server_that_never_answers_is_unavailable_within_the_time_out(
    linked: AsyncEngine, link: Link
) -> None:
    link.freeze()
    started = time.monotonic()

    with pytest.raises(Unavailable):
        await value(linked, "SELECT 1")

    assert time.monotonic() - started < SOON
    link.thaw()
    assert await value(linked, "SELECT 1") == 1


async def test_a_server_that_freezes_in_the_middle_is_unavailable_within_the_time_out(
    linked: AsyncEngine, link: Link
) -> None:
    """And leaving the block does not wait for it either."""
    user = a_user()
    started = time.monotonic()
    async with PostgresUnitOfWork(linked) as work:
        await work.users.add(user)
        link.freeze()
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await work.users.find(user.id)
        with pytest.raises(Unavailable):
            await work.commit()

    assert time.monotonic() - started < SOON
    link.thaw()
    async with PostgresUnitOfWork(linked) as work:
        assert await work.users.find(user.id) is None


async def test_the_pool_learns_from_one_connection_that_froze(
    linked: AsyncEngine, link: Link
) -> None:
    """One unit of work pays for finding out, not one for every connection."""
    await fill(linked)
    link.freeze()
    with pytest.raises(Unavailable):
        await value(linked, "SELECT 1")
    link.reroute()

    for _ in range(6):
        assert await value(linked, "SELECT 1") == 1


async def test_many_that_meet_a_frozen_server_all_know_within_the_time_out(
    linked: AsyncEngine, link: Link
) -> None:
    """Waiting for a connection and making one have one time-out together."""
    await fill(linked)
    link.freeze()

    async def use() -> float:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await value(linked, "SELECT 1")
        return time.monotonic() - started

    assert (
        max(await asyncio.gather(*(use() for _ in range(20)))) < 2 * IMPATIENT.total_seconds() + 1
    )


# --- cancelled ---


async def test_a_cancelled_statement_ends_on_the_server_too(
    settings: PostgresSettings, engine: AsyncEngine, engines: AsyncExitStack
) -> None:
    impatient = engine_of(replace(settings, timeout=timedelta(seconds=2)), engines)
    sleeping = asyncio.create_task(value(impatient, "SELECT pg_sleep(60)"))
    await until_true(engine, f"{_SLEEPERS} = 1")

    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping

    await until_true(engine, f"{_SLEEPERS} = 0")


_SLEEPERS = """(
SELECT count(*) FROM pg_stat_activity
 WHERE wait_event = 'PgSleep' AND datname = current_database()
)"""


async def test_a_cancelled_call_does_not_wait_for_a_frozen_server(
    settings: PostgresSettings, link: Link, engines: AsyncExitStack
) -> None:
    patient = engine_of(replace(settings, url=link.url(settings.url or "")), engines)
    await fill(patient)
    link.freeze()
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await value(patient, "SELECT 1")

    assert time.monotonic() - started < 1


async def test_a_call_cancelled_at_any_moment_leaves_no_connection_and_no_lock_behind(
    engine: AsyncEngine,
) -> None:
    user = a_user()
    await given(lambda: PostgresUnitOfWork(engine), user)
    chance = random.Random(7)  # noqa: S311 - it is to be the same every time

    async def change() -> None:
        async with PostgresUnitOfWork(engine) as work:
            locked = await work.users.lock(user.id)
            locked.rename(PersonName("Somebody else"), at=A_MOMENT)
            await work.users.save(locked)

    for _ in range(150):
        changing = asyncio.create_task(change())
        await asyncio.wait({changing}, timeout=chance.random() * 0.01)
        changing.cancel()
        with suppress(asyncio.CancelledError):
            await changing

    await fill(engine)
    async with PostgresUnitOfWork(engine) as work:
        assert await work.users.lock(user.id) == user


# --- restarted ---


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the server of these tests keeps its data, from test to test."""
    return tmp_path_factory.mktemp("postgres")


@asynccontextmanager
async def server_in(directory: Path, *, kill: bool = False) -> AsyncIterator[PostgresSettings]:
    """Run a server whose address and data outlast it; in the end it is shut down, or killed."""
    async with (
        locked(directory) as lock,
        local_stack(directory, lock, start={"postgres"}) as stack,
    ):
        yield PostgresSettings(
            url=stack.variables["PORTICO_POSTGRES_URL"], timeout=timedelta(seconds=10), pool_size=3
        )
        if kill:
            stack.servers["postgres"].child.kill()


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
async def test_a_restart_between_units_of_work_costs_no_error(
    home: Path, engines: AsyncExitStack, *, kill: bool
) -> None:
    user = a_user()
    async with server_in(home, kill=kill) as settings:
        await PostgresSchema(settings).upgrade()
        engine = engine_of(settings, engines)
        await given(lambda: PostgresUnitOfWork(engine), user)
        await fill(engine)

    with pytest.raises(Unavailable):
        await value(engine, "SELECT 1")

    async with server_in(home):
        await fill(engine)
        async with PostgresUnitOfWork(engine) as work:
            assert await work.users.find(user.id) == user


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
async def test_a_server_that_goes_away_in_the_middle_has_undone_everything(
    home: Path, engines: AsyncExitStack, *, kill: bool
) -> None:
    user, other = a_user(), a_user()
    async with AsyncExitStack() as block:
        async with server_in(home, kill=kill) as settings:
            await PostgresSchema(settings).upgrade()
            engine = engine_of(settings, engines)
            await given(lambda: PostgresUnitOfWork(engine), other)
            work = await block.enter_async_context(PostgresUnitOfWork(engine))
            await work.users.add(user)

        with pytest.raises(Unavailable):
            await work.users.find(user.id)
        with pytest.raises(Unavailable):
            await work.commit()

    async with server_in(home), PostgresUnitOfWork(engine) as work:
        assert await work.users.find(user.id) is None
        assert await work.users.find(other.id) == other


async def test_the_error_of_the_block_is_not_hidden_by_the_loss_of_the_connection(
    engine: AsyncEngine,
) -> None:
    user = a_user()

    async def fail() -> None:
        async with PostgresUnitOfWork(engine) as work:
            await work.users.add(user)
            await value(engine, _END_IDLE_TRANSACTIONS)
            raise UserNotFound(user.id)

    with pytest.raises(UserNotFound):
        await fail()


_END_IDLE_TRANSACTIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE state = 'idle in transaction' AND datname = current_database()
"""


async def test_a_stored_grant_that_is_invalid_today_gives_nothing(
    engine: AsyncEngine,
) -> None:
    """Stricter rules make it less, never more, and no user is locked out for it."""
    role, user = a_role("GET:/a"), a_user()
    async with PostgresUnitOfWork(engine) as work:
        await work.roles.add(role)
        await work.users.add(user)
        await work.roles.assign(user.id, [role.id])
        await work.commit()
    async with engine.connect() as connection:
        await connection.execute(
            text("UPDATE roles SET grants = :grants"),
            {"grants": ["GET:/**/b", "GET:/a", "GET:" + "/*" * 17, "*:/c/**"]},
        )

    async with PostgresUnitOfWork(engine) as work:
        found = await work.roles.find(role.id)
        access = await work.roles.access_of(user.id)

    assert found is not None
    assert access is not None
    assert {grant.value for grant in found.grants} == {"GET:/a", "*:/c/**"}
    assert [grant.value for grant in access.grants.patterns] == ["*:/c/**"]
    assert not access.allows("GET:/x/b")


async def test_a_role_takes_the_settings_of_the_documentation(
    settings: PostgresSettings, engines: AsyncExitStack
) -> None:
    """Each is one that Portico sets for its connections. The role goes with the transaction that made it."""
    [block] = blocks("sql", (ROOT / "docs" / "operations.md").read_text())
    engine = postgres_engine(settings)
    engines.push_async_callback(engine.dispose)

    async with aclosing(await connect(engine)) as connection:
        await connection.execute(text("CREATE ROLE documented"))
        for statement in block.splitlines():
            assert statement.startswith("ALTER ROLE portico ")
            await connection.execute(text(statement.replace("portico", "documented")))
        taken = await connection.scalar(
            text("SELECT rolconfig FROM pg_roles WHERE rolname = 'documented'")
        )
        ours = {
            name: await connection.scalar(text(f"SHOW {name}"))
            for name in ("idle_in_transaction_session_timeout", "jit")
        }
        await connection.rollback()

    assert dict(each.split("=") for each in taken) == {**ours, "statement_timeout": "1500ms"}
