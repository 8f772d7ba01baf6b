"""The history of the schema: each step up and down, together what `tables` says, any number of times at once."""

import asyncio
import runpy
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.health import SchemaProbe
from adapters.postgres.migrations import alembic_config
from adapters.postgres.scheduling.leader_lease import PostgresLeaderLease
from adapters.postgres.scheduling.run_claims import PostgresRunClaims
from adapters.postgres.schema import PostgresSchema
from adapters.postgres.tables import AdvisoryLock, all_tables
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from application.paging import PageRequest
from application.ports.run_claims import DueSlots
from application.ports.system import MigrationsRefused
from application.ports.users import UserFilter
from application.settings import PostgresSettings
from domain.errors import Unavailable
from domain.identity import PersonName, Username, UsernameTaken
from domain.scheduling.firing import no_sun
from domain.scheduling.misfire import Misfire
from domain.scheduling.periodic_tasks import PeriodicTask
from local_stack.postgres import packaged_program
from tests.support.beat_store_harness import FIRST_BEAT, LONG, REPORT
from tests.support.builders import A_MOMENT, a_file, a_periodic_task, a_user
from tests.support.servers import Servers

_ROOT = Path(__file__).parents[2]
_HISTORY = ScriptDirectory.from_config(alembic_config())
_STEPS = [step.revision for step in _HISTORY.walk_revisions()][::-1]


@pytest.fixture
async def empty(servers: Servers, worker: int) -> AsyncIterator[PostgresSettings]:
    """Return a database without any schema."""
    name = f"portico_test_{worker}_migrations"
    admin = await asyncpg.connect(servers.postgres_url, timeout=10)
    await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {name}")
    url = urlsplit(servers.postgres_url)._replace(path=f"/{name}").geturl()
    yield PostgresSettings(url=url, timeout=timedelta(seconds=10))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@asynccontextmanager
async def connection_to(settings: PostgresSettings) -> AsyncIterator[AsyncConnection]:
    engine = postgres_engine(settings)
    async with aclosing(await connect(engine)) as connection:
        yield await connection.execution_options(isolation_level="READ COMMITTED")
    await engine.dispose()


async def alembic(settings: PostgresSettings, run: Callable[[Config], None]) -> None:
    async with connection_to(settings) as connection:
        await connection.run_sync(lambda sync: run(alembic_config(sync)))


async def catalogue(settings: PostgresSettings) -> set[tuple[str, ...]]:
    """Return what PostgreSQL says about everything that the schema consists of."""
    async with connection_to(settings) as connection:
        return {tuple(row) for row in await connection.execute(text(_CATALOGUE))}


_CATALOGUE = """
SELECT 'column', format('%s.%s', attrelid::regclass, attname),
       concat_ws(' ', format_type(atttypid, atttypmod), attcollation::regcollation,
                 CASE WHEN attnotnull THEN 'NOT NULL' END, attidentity, attgenerated,
                 pg_get_expr(adbin, adrelid))
  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attnum > 0 AND NOT attisdropped
   AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r')
   AND attrelid::regclass::text <> 'alembic_version'
UNION ALL
SELECT 'constraint', format('%s.%s', conrelid::regclass, conname), pg_get_constraintdef(oid)
  FROM pg_constraint
 WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
UNION ALL
SELECT 'index', indexname, indexdef FROM pg_indexes
 WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION ALL
SELECT 'type', typname, typtype::text FROM pg_type
 WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')
UNION ALL
SELECT 'relation', relname, relkind::text FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('S', 'v', 'm')
UNION ALL
SELECT 'function', oid::regprocedure::text, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'trigger', format('%s.%s', tgrelid::regclass, tgname), pg_get_triggerdef(oid)
  FROM pg_trigger WHERE NOT tgisinternal
"""


# --- the steps ---


async def test_every_step_up_can_be_taken_back(empty: PostgresSettings) -> None:
    """And taken again: a step down leaves exactly what was there before the step up."""
    for step in _STEPS:
        before = await catalogue(empty)
        await alembic(empty, partial(command.upgrade, revision=step))
        after = await catalogue(empty)

        await alembic(empty, partial(command.downgrade, revision="-1"))
        assert await catalogue(empty) == before

        await alembic(empty, partial(command.upgrade, revision=step))
        assert await catalogue(empty) == after != before


async def test_all_steps_together_make_what_the_tables_say(empty: PostgresSettings) -> None:
    await PostgresSchema(empty).upgrade()
    migrated = await catalogue(empty)

    async with connection_to(empty) as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
        await connection.run_sync(all_tables().create_all)
        await connection.commit()

    assert await catalogue(empty) == migrated


def test_the_steps_form_one_line() -> None:
    """Two steps after the same one, as two branches may bring, have to be put in order."""
    assert len(_HISTORY.get_heads()) == len(_HISTORY.get_bases()) == 1


async def test_users_who_were_there_before_the_search_are_found_by_it(
    empty: PostgresSettings,
) -> None:
    """And so are those whom the version before goes on to add, though not by their names."""
    await alembic(empty, partial(command.upgrade, revision="797fc5cc94aa"))
    async with connection_to(empty) as connection:
        await connection.execute(_OLD_USER, {"name": "José Müller", "key": "jose.m"})
        await connection.commit()
    await PostgresSchema(empty).upgrade()
    async with connection_to(empty) as connection:
        await connection.execute(_OLD_USER, {"name": "Ada", "key": "lovelace"})
        await connection.commit()

    engine = postgres_engine(empty)
    async with PostgresUnitOfWork(engine) as work:
        for keyword, expected in (
            ("JOSÉ M", "jose.m"),
            ("jose.m@", "jose.m"),
            ("velace", "lovelace"),
        ):
            page = await work.users.page(UserFilter(keyword=keyword), PageRequest())
            assert [user.username.value for user in page.records] == [expected]
    await engine.dispose()


async def test_a_database_that_is_restored_from_a_dump_is_current_and_has_what_was_dumped(
    postgres_url: str, empty: PostgresSettings, tmp_path: Path
) -> None:
    """As docs/operations.md describes it. What came later is gone, and what was undone later is back."""
    dump = tmp_path / "postgres.dump"
    task, ada = a_periodic_task(misfire=Misfire.RUN_ALL), a_user(username="ada")
    deleted, later = a_file(ada.id), a_file(ada.id)
    engine = postgres_engine(PostgresSettings(url=postgres_url))
    async with PostgresUnitOfWork(engine) as work:
        await work.users.add(ada)
        await work.periodic_tasks.add(task)
        await work.files.add(deleted)
        await work.commit()
    first, *missed = (A_MOMENT + timedelta(hours=n) for n in range(1, 4))
    await run_slots(engine, task, first)
    await run_program("pg_dump", "--format=custom", "--no-owner", f"--file={dump}", postgres_url)
    await run_slots(engine, task, *missed)
    async with PostgresUnitOfWork(engine) as work:
        await work.users.add(a_user(username="later"))
        await work.files.remove(deleted.id)
        await work.files.add(later)
        await work.commit()
    await engine.dispose()

    await run_program(
        "pg_restore", "--no-owner", "--exit-on-error", f"--dbname={empty.url}", str(dump)
    )

    assert await PostgresSchema(empty).is_current()
    engine = postgres_engine(empty)
    async with PostgresUnitOfWork(engine) as work:
        page = await work.users.page(UserFilter(), PageRequest())
        assert [user.username.value for user in page.records] == ["ada"]
        assert await work.files.find(deleted.id) == deleted
        assert await work.files.find(later.id) is None
        with pytest.raises(UsernameTaken):
            await work.users.add(a_user(username="ada", email="other@example.org"))
    state = (await PostgresRunClaims(engine).schedule_states([task.id]))[task.id]
    due = task.due(state, now=missed[-1], up_since=missed[-1], sun=no_sun)
    assert list(due.slots) == missed
    await run_slots(engine, task, *missed)
    async with PostgresUnitOfWork(engine) as work:
        runs = await work.runs.slice(task.id, after=None, limit=10)
    assert {run.scheduled_for for run in runs.records} == {first, *missed}
    await engine.dispose()


async def run_slots(engine: AsyncEngine, task: PeriodicTask, *slots: datetime) -> None:
    """Claim slots of a task for a beat that leads."""
    leadership = await PostgresLeaderLease(engine).lead(FIRST_BEAT, lease=LONG, report=REPORT)
    assert leadership is not None
    due = DueSlots(task_id=task.id, slots=slots, handled_until=slots[-1])
    assert len(await PostgresRunClaims(engine).claim(leadership, [due])) == len(slots)


async def run_program(name: str, *arguments: str) -> None:
    """Run a program of PostgreSQL."""
    process = await asyncio.create_subprocess_exec(
        packaged_program(name), *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_patterns_that_are_refused_today_are_taken_from_roles_and_recorded(
    empty: PostgresSettings,
) -> None:
    await alembic(empty, partial(command.upgrade, revision="5d0b1f6e8a37"))
    costly = [f"GET:/**/a/{'x' * 280}{n:03}" for n in range(300)]
    async with connection_to(empty) as connection:
        for code, grants in (
            ("clean", ["GET:/a", "*:/b/**"]),
            ("costly", ["GET:/a", "GET:/**/b", *costly]),
        ):
            await connection.execute(
                text("""
                INSERT INTO roles (id, code, name, name_key, description, status, grants, buttons,
                                   routers, created_at, updated_at)
                VALUES (gen_random_uuid(), :code, :code, :code, '', 'active', :grants, '{}', '{}',
                        now(), '2026-01-01')
                """),
                {"code": code, "grants": grants},
            )
        await connection.commit()

    await PostgresSchema(empty).upgrade()

    async with connection_to(empty) as connection:
        rows = (await connection.execute(text("SELECT * FROM roles ORDER BY code"))).all()
    engine = postgres_engine(empty)
    async with PostgresUnitOfWork(engine) as work:
        entries = await work.outbox.take(100)
    await engine.dispose()
    clean, stripped = rows
    assert clean.grants == ["GET:/a", "*:/b/**"]
    assert stripped.grants == ["GET:/a"]
    assert clean.updated_at < stripped.updated_at
    assert {(e.action, e.target) for e in entries} == {("roles.replaced", f"role:{stripped.id}")}
    removed = {
        grant
        for entry in entries
        for grant in cast("dict[str, list[str]]", entry.details["permissions"]).get("removed", [])
    }
    assert removed == {"GET:/**/b", *costly}


async def test_confusable_names_from_before_stay_and_no_new_one_joins_them(
    empty: PostgresSettings,
) -> None:
    """Their password can still be changed, say, and a user whom the version before adds is let in, too."""
    await alembic(empty, partial(command.upgrade, revision="5d0b1f6e8a37"))
    async with connection_to(empty) as connection:
        for key in ("admin", "adm\u0131n", "p\u0430ypal"):
            await connection.execute(_OLD_USER, {"name": key, "key": key})
        await connection.execute(
            text(
                "UPDATE users SET email = 'a@xn--mnchen-3ya.de', email_key = email WHERE name = 'admin'"
            )
        )
        await connection.execute(text("UPDATE users SET email_key = email"))
        await connection.commit()
    await PostgresSchema(empty).upgrade()
    async with connection_to(empty) as connection:
        await connection.execute(_OLD_USER, {"name": "Ada", "key": "ad\u03b1"})
        await connection.commit()

    engine = postgres_engine(empty)
    async with PostgresUnitOfWork(engine) as work:
        names = ("admin", "adm\u0131n", "p\u0430ypal", "ad\u03b1")
        found = [await work.users.find_by_login(name) for name in names]
        by_email = await work.users.find_by_login("a@m\u00fcnchen.de")
        assert by_email is not None
        assert by_email.username.value == "admin"
        for user in found:
            assert user is not None
            await work.users.lock(user.id)
            user.rename(PersonName("Another"), at=A_MOMENT)
            await work.users.save(user)
        await work.commit()
    for name in ("adm\u0456n", "\u03c1aypal"):
        async with PostgresUnitOfWork(engine) as work:
            newcomer = a_user()
            newcomer.username = Username(name, is_new=False)
            with pytest.raises(UsernameTaken):
                await work.users.add(newcomer)
    await engine.dispose()


_OLD_USER = text("""
INSERT INTO users (id, username, username_key, email, email_key, name, password_hash, status,
                   is_admin, must_change_password, created_at, updated_at, password_changed_at)
VALUES (gen_random_uuid(), :key, :key, :key || '@x.example', :key || '@x.example', :name, '$', 'active',
        false, false, now(), now(), now())
""")


# --- bringing a database up to date ---


async def test_a_database_is_current_once_every_step_is_taken(empty: PostgresSettings) -> None:
    schema = PostgresSchema(empty)
    assert not await schema.is_current()

    await schema.upgrade()
    assert await schema.is_current()

    await alembic(empty, partial(command.downgrade, revision="-1"))
    assert not await schema.is_current()


async def test_a_database_at_the_last_step_is_known_to_be_current_without_alembic(
    empty: PostgresSettings,
) -> None:
    await PostgresSchema(empty).upgrade()

    assert await python(_ROOT, _IS_CURRENT, empty.url or "") == "True False\n"


_IS_CURRENT = """
import asyncio, sys
from adapters.postgres.schema import PostgresSchema
from application.settings import PostgresSettings

is_current = asyncio.run(PostgresSchema(PostgresSettings(url=sys.argv[1])).is_current())
print(is_current, "alembic" in sys.modules)
"""


async def test_upgrading_what_is_current_changes_nothing(empty: PostgresSettings) -> None:
    await PostgresSchema(empty).upgrade()
    before = await catalogue(empty)

    await PostgresSchema(empty).upgrade()

    assert await catalogue(empty) == before


async def test_any_number_of_processes_may_upgrade_at_once(empty: PostgresSettings) -> None:
    await asyncio.gather(*(PostgresSchema(empty).upgrade() for _ in range(8)))

    assert await PostgresSchema(empty).is_current()


async def test_waiting_for_another_migration_ends(empty: PostgresSettings) -> None:
    schema = PostgresSchema(empty, patience_with_others=timedelta(milliseconds=200))
    async with connection_to(empty) as other:
        await other.execute(text(f"SELECT pg_advisory_lock({AdvisoryLock.MIGRATIONS})"))

        with pytest.raises(Unavailable):
            await schema.upgrade()

    await schema.upgrade()
    assert await schema.is_current()


async def test_every_applied_migration_is_recorded(empty: PostgresSettings) -> None:
    """Those before the note was invented as well, and none that was taken back."""
    await PostgresSchema(empty).upgrade()
    assert await noted(empty) == {*_STEPS}

    await alembic(empty, partial(command.downgrade, revision="-1"))
    assert await noted(empty) in ({*_STEPS[:-1]}, set())


async def test_a_database_of_a_later_version_is_current_and_left_alone(
    empty: PostgresSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """So that a release can be rolled back: migrations expand first, and contract a release later."""
    schema = PostgresSchema(empty)
    await schema.upgrade()
    await sql(empty, "UPDATE alembic_version SET version_num = 'from_the_future'")
    await sql(empty, "INSERT INTO applied_migrations VALUES ('from_the_future')")

    await schema.upgrade()

    assert await schema.is_current()
    assert "comes from a later version" in caplog.text
    async with connection_to(empty) as connection:
        version = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    assert version == "from_the_future"
    with pytest.raises(MigrationsRefused, match="later version"):
        await schema.write_migration("from a database that is ahead")


# Where another branch has left the database, and what the refusal must name.
_MOVE = "UPDATE alembic_version SET version_num = 'other_branch'"
_DIVERGED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "another branch": (
        (
            "DELETE FROM applied_migrations WHERE revision IN (SELECT version_num FROM alembic_version)",
            "INSERT INTO applied_migrations VALUES ('other_branch')",
            _MOVE,
        ),
        ("other_branch", _STEPS[-1]),
    ),
    "another branch, and nothing is noted": (
        ("DELETE FROM applied_migrations", _MOVE),
        ("other_branch", _STEPS[-1]),
    ),
    "a step that was put in before": (
        (f"DELETE FROM applied_migrations WHERE revision = '{_STEPS[1]}'",),  # noqa: S608
        (_STEPS[-1], _STEPS[1]),
    ),
}


@pytest.mark.parametrize("which", _DIVERGED)
async def test_a_database_of_another_branch_is_refused_and_left_alone(
    empty: PostgresSettings, which: str
) -> None:
    """It lacks tables, however new it is; both steps are named."""
    schema = PostgresSchema(empty)
    await schema.upgrade()
    statements, names = _DIVERGED[which]
    for statement in statements:
        await sql(empty, statement)
    before = await catalogue(empty)

    for ask in (schema.is_current, schema.upgrade, partial(schema.write_migration, "more")):
        with pytest.raises(MigrationsRefused) as refusal:
            await ask()
        assert all(name in str(refusal.value) for name in names)
    assert await catalogue(empty) == before


async def test_a_database_that_another_branch_takes_is_no_longer_ready(
    empty: PostgresSettings,
) -> None:
    """Readiness looks again when the database is somewhere else, and only then compares it with the code."""
    engine = postgres_engine(empty)
    probe = SchemaProbe(engine, PostgresSchema(empty))
    await PostgresSchema(empty).upgrade()
    await probe.check()
    await probe.check()

    await sql(empty, "DELETE FROM applied_migrations")
    await sql(empty, "UPDATE alembic_version SET version_num = 'other_branch'")
    with pytest.raises(MigrationsRefused, match="other_branch"):
        await probe.check()

    await alembic(empty, partial(command.stamp, revision=_STEPS[0], purge=True))
    with pytest.raises(Unavailable) as missing:
        await probe.check()
    assert missing.value.reason == "migrations are missing"
    await engine.dispose()


async def noted(settings: PostgresSettings) -> set[str]:
    async with connection_to(settings) as connection:
        if not await connection.scalar(text("SELECT to_regclass('applied_migrations')")):
            return set()
        return {*await connection.scalars(text("SELECT revision FROM applied_migrations"))}


async def sql(settings: PostgresSettings, statement: str) -> None:
    async with connection_to(settings) as connection:
        await connection.execute(text(statement))
        await connection.commit()


@pytest.mark.parametrize("ask", [PostgresSchema.upgrade, PostgresSchema.is_current])
async def test_without_a_database_the_answer_is_that_it_is_unavailable(
    ask: Callable[[PostgresSchema], Awaitable[object]], unused_tcp_port: int
) -> None:
    schema = PostgresSchema(
        PostgresSettings(url=f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/x")
    )
    started = time.monotonic()

    with pytest.raises(Unavailable):
        await ask(schema)

    assert time.monotonic() - started < 2


# --- writing the next step ---


async def test_a_change_of_the_tables_becomes_the_next_step(
    empty: PostgresSettings, tmp_path: Path
) -> None:
    """Done to a copy of the project, which shows at the same time that nothing depends on where it lies."""
    for package in ("adapters", "application", "domain", "migrations"):
        shutil.copytree(_ROOT / package, tmp_path / package)
    shutil.copy(_ROOT / "pyproject.toml", tmp_path)
    tables = tmp_path / "adapters/postgres/user_tables.py"
    tables.write_text(f'{tables.read_text()}\nusers.append_column(Column("nickname", Text))\n')
    (tmp_path / "adapters/postgres/a_new_capability.py").write_text(_A_NEW_TABLE)

    written = await python(tmp_path, _WRITE_MIGRATION, empty.url or "")

    (path, again) = (Path(line) for line in written.splitlines())
    assert path.parent == tmp_path / "migrations/versions"
    assert path.name.endswith("_a_nickname.py")
    assert again == Path("None")
    step = runpy.run_path(str(path))
    assert step["down_revision"] == _STEPS[-1]
    assert "op.add_column('users', sa.Column('nickname'" in path.read_text()
    assert "op.create_table('new_things'" in path.read_text()


_A_NEW_TABLE = """
from sqlalchemy import Column, Table, Uuid
from adapters.postgres.tables import metadata

Table("new_things", metadata, Column("id", Uuid, primary_key=True))
"""

_WRITE_MIGRATION = """
import asyncio, sys
from adapters.postgres.schema import PostgresSchema
from application.settings import PostgresSettings

async def main():
    schema = PostgresSchema(PostgresSettings(url=sys.argv[1]))
    print(await schema.write_migration("a nickname"))
    print(await schema.write_migration("and nothing else"))

asyncio.run(main())
"""


async def test_migrations_that_contradict_each_other_are_refused(
    empty: PostgresSettings, tmp_path: Path
) -> None:
    """As two branches leave them, or one that was merged without the other."""
    for package in ("adapters", "application", "domain", "migrations"):
        shutil.copytree(_ROOT / package, tmp_path / package)
    step = "revision = 'd00d'\ndown_revision = {!r}\ndef upgrade(): pass\n"

    refusals = ""
    for before in (_STEPS[0], "not_here"):
        (tmp_path / "migrations/versions/another.py").write_text(step.format(before))
        refusals += await python(tmp_path, _MIGRATE, empty.url or "")

    first, second = refusals.splitlines()
    assert "The migrations cannot be used" in first
    assert "not_here" in second


_MIGRATE = """
import asyncio, sys
from adapters.postgres.schema import PostgresSchema
from application.ports.system import MigrationsRefused
from application.settings import PostgresSettings

try:
    asyncio.run(PostgresSchema(PostgresSettings(url=sys.argv[1])).upgrade())
except MigrationsRefused as refusal:
    print(refusal)
"""


async def python(directory: Path, code: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, cwd=directory, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
