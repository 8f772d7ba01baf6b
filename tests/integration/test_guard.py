"""The guard and changes of access on real servers: what they cost, and what they withstand.

`python -m tests.integration.test_guard` is another process: a guard that answers, or a writer that dies on the way.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from adapters.memory.access_cache import LocalAccessCache
from adapters.memory.access_versions import MemoryAccessVersions
from adapters.memory.sessions import MemorySessionStore
from adapters.postgres.engine import postgres_engine
from adapters.postgres.unit_of_work import PostgresUnitOfWork
from adapters.redis.access_cache import RedisAccessCache
from adapters.redis.access_versions import RedisAccessVersions
from adapters.redis.client import RedisClient, redis_client
from adapters.redis.sessions import RedisSessionStore
from adapters.system import Uuid7Generator
from application.ports.access_versions import DIRTY_TTL, AccessSnapshot, AccessVersions, Change
from application.ports.tokens import Tokens
from application.ports.unit_of_work import UnitOfWork
from application.settings import PostgresSettings, RedisSettings
from application.use_cases.access.change import CommitAccessChange
from application.use_cases.access.guard import Guard
from application.use_cases.caller import ClientInfo
from domain.access import Access, PermissionDenied
from domain.errors import Unavailable
from domain.grants import Grant
from domain.identity import User, UserId
from domain.roles import Role, grants_of
from domain.sessions import AccessClaims, InvalidToken, Session, SessionId, TokenId
from tests.support.access_changes import changing
from tests.support.builders import A_MOMENT, a_role, a_user
from tests.support.clock import SECOND
from tests.support.link import link_to, proxy_to
from tests.support.redis_clock import ClockWithRedis
from tests.support.sessions import ABSOLUTE, ADA, GRACE_HOPPER, IDLE, a_session
from tests.support.valkey import Valkey
from tests.support.waiting import until

TTL = timedelta(minutes=10)
SOON = 0.5 * SECOND
"""The dirty mark expires after this time here."""

CODE = "GET:/api/v1/roles"
A_CHANGE = Change(id=UUID(int=1), user_ids=[ADA])
AT_ONCE = ("--repl-diskless-sync-delay", "0")
SOMEWHERE = ClientInfo(address="192.0.2.1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    directory = tmp_path / "valkey"
    directory.mkdir()
    with Valkey(directory, *AT_ONCE) as server:
        yield server


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def client_of(url: str, stack: AsyncExitStack, *, patience: timedelta = 30 * SECOND) -> RedisClient:
    client = redis_client(RedisSettings(url=url, timeout=patience))
    stack.push_async_callback(client.aclose)
    return client


# --- versions -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Fetcher:
    """Versions on a server, and a living session to fetch."""

    client: RedisClient
    versions: AccessVersions
    session: Session = field(default_factory=a_session)

    async def fetch(self, user_id: UserId = ADA) -> AccessSnapshot:
        return await self.versions.fetch(user_id, self.session.id)

    async def is_stable(self) -> bool:
        return (await self.fetch()).stable


async def fetcher_at(
    url: str, stack: AsyncExitStack, *, patience: timedelta = 30 * SECOND
) -> Fetcher:
    """Return versions that are stable."""
    client = client_of(url, stack, patience=patience)
    fetcher = Fetcher(client, RedisAccessVersions(client, dirty_ttl=SOON))
    await RedisSessionStore(client).open(fetcher.session, idle=IDLE, absolute=ABSOLUTE, cap=20)
    await until(fetcher.is_stable)
    return fetcher


@pytest.mark.server
async def test_a_fetch_is_one_round_trip_alone_or_together_with_63_others(
    redis_url: str, stack: AsyncExitStack
) -> None:
    link = await stack.enter_async_context(link_to(redis_url))
    fetcher = await fetcher_at(link.url(redis_url), stack)
    users = [UserId(UUID(int=number)) for number in range(64)]
    for asking in ([ADA], users):
        before = link.questions
        await asyncio.gather(*(fetcher.fetch(user_id) for user_id in asking))
        assert link.questions - before == 1


class Postman(RedisClient):
    """Delivers answers on command."""

    def __init__(self, client: RedisClient) -> None:
        self.__dict__.update(vars(client), _held=None)
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def execute_held(self, *args: str | int) -> object:
        answer = await super().execute_held(*args)
        self.asked.set()
        await self.may_answer.wait()
        return answer


@pytest.mark.server
async def test_a_fetch_after_a_change_is_not_answered_by_a_fetch_that_was_sent_before_it(
    redis_url: str, stack: AsyncExitStack
) -> None:
    fetcher = await fetcher_at(redis_url, stack)
    postman = Postman(fetcher.client)
    far = replace(fetcher, versions=RedisAccessVersions(postman, dirty_ttl=SOON))
    before = asyncio.create_task(far.fetch())
    await postman.asked.wait()

    await fetcher.versions.mark_dirty(A_CHANGE)
    after = [asyncio.create_task(far.fetch()) for _ in range(3)]
    await asyncio.sleep(0)
    postman.may_answer.set()

    assert (await before).stable
    assert not any([(await snapshot).stable for snapshot in after])


async def test_when_the_server_stands_still_every_fetch_fails_in_time(
    server: Valkey, stack: AsyncExitStack
) -> None:
    fetcher = await fetcher_at(server.url, stack, patience=SECOND)
    server.pause()
    start = monotonic()
    first = [asyncio.create_task(fetcher.fetch()) for _ in range(5)]
    await asyncio.sleep(0.2)
    second = [asyncio.create_task(fetcher.fetch()) for _ in range(5)]
    answers = await asyncio.gather(*first, *second, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 10
    assert monotonic() - start < 1.9
    server.resume()
    assert (await fetcher.fetch()).session_alive


async def test_when_the_server_is_gone_every_fetch_fails(
    server: Valkey, stack: AsyncExitStack
) -> None:
    fetcher = await fetcher_at(server.url, stack)
    await server.kill()
    answers = await asyncio.gather(*(fetcher.fetch() for _ in range(10)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 10
    for step in (fetcher.versions.mark_dirty, fetcher.versions.clear_dirty):
        with pytest.raises(Unavailable):
            await step(A_CHANGE)
    await server.start()
    assert not (await fetcher.fetch()).session_alive  # of another run


async def test_a_bug_of_ours_is_raised_where_the_fetch_was_called(
    server: Valkey, stack: AsyncExitStack
) -> None:
    fetcher = await fetcher_at(server.url, stack)
    await fetcher.client.set("auth:version", "no hash")
    answers = await asyncio.gather(*(fetcher.fetch() for _ in range(3)), return_exceptions=True)
    assert all("WRONGTYPE" in str(answer) for answer in answers)
    await fetcher.client.delete("auth:version")
    assert (await fetcher.fetch()).session_alive


Loss = Callable[[Valkey, RedisClient], Awaitable[None]]


async def restart(server: Valkey, _: RedisClient) -> None:
    await server.kill()
    await server.start()


async def flush(_: Valkey, client: RedisClient) -> None:
    await client.flushall()


async def evict(_: Valkey, client: RedisClient) -> None:
    await client.delete("auth:version")


@pytest.mark.parametrize("lose", [restart, flush, evict])
async def test_a_server_that_may_have_lost_data_revives_no_version_and_marks_everyone_dirty(
    server: Valkey, stack: AsyncExitStack, lose: Loss
) -> None:
    fetcher = await fetcher_at(server.url, stack)
    before = await fetcher.fetch()
    await lose(server, fetcher.client)
    assert not (await fetcher.fetch()).stable
    after = await fetcher.fetch()
    assert not after.stable
    assert after.version != before.version
    await until(fetcher.is_stable)
    assert (await fetcher.fetch()).version == after.version


async def test_a_restored_backup_revives_no_version_and_marks_everyone_dirty(
    server: Valkey, stack: AsyncExitStack, tmp_path: Path
) -> None:
    fetcher = await fetcher_at(server.url, stack)
    before = await fetcher.fetch()
    await server.kill()
    server.copy_data_to(tmp_path / "backup")
    await server.start()
    await fetcher.versions.mark_dirty(A_CHANGE)

    await server.kill()
    server.restore_data_from(tmp_path / "backup")
    await server.start()

    first = await fetcher.fetch()
    assert not first.stable
    assert not first.session_alive
    await until(fetcher.is_stable)
    after = await fetcher.fetch()
    assert after.version != before.version
    assert not after.session_alive


async def test_a_change_that_the_server_still_knows_after_a_restart_goes_on(
    server: Valkey, stack: AsyncExitStack
) -> None:
    fetcher = await fetcher_at(server.url, stack)
    patient = RedisAccessVersions(fetcher.client)
    await patient.mark_dirty(A_CHANGE)
    await restart(server, fetcher.client)
    assert not (await fetcher.fetch()).stable
    await patient.clear_dirty(A_CHANGE)
    await until(fetcher.is_stable)


async def test_a_replica_that_takes_over_is_trusted_like_a_server_that_was_restarted(
    server: Valkey, stack: AsyncExitStack, tmp_path: Path
) -> None:
    fetcher = await fetcher_at(server.url, stack)
    before = await fetcher.fetch()
    (tmp_path / "replica").mkdir()
    replica = stack.enter_context(
        Valkey(tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}")
    )
    client = client_of(replica.url, stack)
    there = replace(fetcher, versions=RedisAccessVersions(client, dirty_ttl=SOON))

    async def has_everything() -> bool:
        return bool(await client.exists("auth:version"))

    await until(has_everything)
    with pytest.raises(Unavailable):
        await there.fetch()

    await server.kill()
    await client.execute_command("REPLICAOF", "NO", "ONE")
    assert not (await there.fetch()).stable
    await until(there.is_stable)
    after = await there.fetch()
    assert not after.session_alive  # whether it was ended, the replica may not have heard
    assert after.version != before.version


async def test_a_server_that_was_made_a_replica_is_not_believed(
    server: Valkey, stack: AsyncExitStack, tmp_path: Path
) -> None:
    """What it says of sessions may be old, even over a connection from before."""
    fetcher = await fetcher_at(server.url, stack)
    (tmp_path / "primary").mkdir()
    primary = stack.enter_context(Valkey(tmp_path / "primary", *AT_ONCE))
    there = await fetcher_at(primary.url, stack)
    assert (await there.fetch()).stable

    await fetcher.client.execute_command("REPLICAOF", "127.0.0.1", primary.port)

    async def is_doubted() -> bool:
        with suppress(Unavailable):
            return not (await fetcher.fetch()).stable
        return True

    await until(is_doubted)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await fetcher.fetch()


class MovedClient(RedisClient):
    """Has connections to the server from before; new ones reach another server."""

    def __init__(self, before: RedisClient, now: RedisClient) -> None:
        self.__dict__.update(vars(now))
        self._before = before

    async def execute_held(self, *args: str | int) -> object:
        return await self._before.execute_held(*args)


async def test_a_server_from_before_is_not_believed_because_the_new_one_knows_the_versions(
    server: Valkey, stack: AsyncExitStack, tmp_path: Path
) -> None:
    before = await fetcher_at(server.url, stack)
    (tmp_path / "other").mkdir()
    other = stack.enter_context(Valkey(tmp_path / "other"))
    now = await fetcher_at(other.url, stack)
    copied = str(await now.client.hget("auth:version", "run"))
    await before.client.hset("auth:version", "run", copied)
    moved = RedisAccessVersions(MovedClient(before.client, now.client), dirty_ttl=SOON)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await moved.fetch(ADA, before.session.id)
    assert (await now.fetch()).stable


async def a_replica_of(server: Valkey, stack: AsyncExitStack, tmp_path: Path) -> Valkey:
    """Start one, and return it when it knows the versions."""
    (tmp_path / "replica").mkdir()
    replica = stack.enter_context(
        Valkey(tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}")
    )
    client = client_of(replica.url, stack)

    async def has_everything() -> bool:
        return bool(await client.exists("auth:version"))

    await until(has_everything)
    return replica


async def test_a_proxy_may_swap_the_server_behind_the_kept_connection_and_the_next_is_not_believed(
    server: Valkey, stack: AsyncExitStack, tmp_path: Path
) -> None:
    """A replica that was promoted knows the same session and versions, and the client notices nothing."""
    proxy = await stack.enter_async_context(proxy_to(server.port))
    fetcher = await fetcher_at(f"redis://127.0.0.1:{proxy.port}/0", stack)
    replica = await a_replica_of(server, stack, tmp_path)
    await client_of(replica.url, stack).execute_command("REPLICAOF", "NO", "ONE")
    before = await fetcher.fetch()
    assert (before.session_alive, before.stable) == (True, True)

    proxy.port_behind = replica.port

    first = await fetcher.fetch()
    assert proxy.swapped_connections
    assert (first.session_alive, first.stable) == (False, False)
    await until(fetcher.is_stable)
    after = await fetcher.fetch()
    assert after.version != before.version
    assert not after.session_alive


@pytest.mark.parametrize("has_copy", [False, True])
async def test_another_server_at_the_same_port_is_not_believed(
    server: Valkey, stack: AsyncExitStack, tmp_path: Path, *, has_copy: bool
) -> None:
    fetcher = await fetcher_at(server.url, stack)
    before = await fetcher.fetch()
    await server.kill()
    if has_copy:
        server.copy_data_to(tmp_path / "other")
    else:
        (tmp_path / "other").mkdir()
    other = Valkey(tmp_path / "other")
    other.port = server.port
    stack.enter_context(other)

    first = await fetcher.fetch()
    assert (first.session_alive, first.stable) == (False, False)
    await until(fetcher.is_stable)
    after = await fetcher.fetch()
    assert after.version != before.version
    assert not after.session_alive


async def test_a_server_that_was_replaced_is_not_believed_over_the_kept_connection(
    server: Valkey, stack: AsyncExitStack, tmp_path: Path
) -> None:
    """It lives on as a replica of the next one, which new connections reach."""
    link = await stack.enter_async_context(link_to(server.url))
    fetcher = await fetcher_at(link.url(server.url), stack)
    (tmp_path / "next").mkdir()
    next_server = stack.enter_context(Valkey(tmp_path / "next", *AT_ONCE))
    there = await fetcher_at(next_server.url, stack)
    await there.client.set("told", "yes")
    link.port = next_server.port
    direct = client_of(server.url, stack)
    await direct.execute_command("REPLICAOF", "127.0.0.1", next_server.port)

    async def has_everything() -> bool:
        return bool(await direct.exists("told"))

    await until(has_everything)
    with pytest.raises(Unavailable):
        await fetcher.fetch()

    async def is_answered() -> bool:
        with suppress(Unavailable):
            assert not (await fetcher.fetch()).session_alive
            return True
        return False

    await until(is_answered)
    assert (await fetcher.fetch()).version == (await there.fetch()).version


@pytest.mark.server
async def test_a_version_lasts_for_a_while_and_not_for_all_users_until_the_same_moment(
    redis_url: str, stack: AsyncExitStack
) -> None:
    fetcher = await fetcher_at(redis_url, stack)
    fetcher.versions = RedisAccessVersions(
        fetcher.client, dirty_ttl=SOON, version_ttl=timedelta(milliseconds=400)
    )
    users = [UserId(UUID(int=number * 100)) for number in range(4)]

    async def versions() -> tuple[str, ...]:
        snapshots = await asyncio.gather(*(fetcher.fetch(user_id) for user_id in users))
        return tuple(snapshot.version for snapshot in snapshots)

    seen = [await versions()]

    async def all_are_others() -> bool:
        seen.append(await versions())
        return all(now != then for now, then in zip(seen[-1], seen[0], strict=True))

    await until(all_are_others)
    assert len(set(seen)) > 2


@pytest.mark.server
async def test_versions_are_one_key_however_many_users_were_changed(
    redis_url: str, stack: AsyncExitStack
) -> None:
    fetcher = await fetcher_at(redis_url, stack)
    seen = {(await fetcher.fetch()).version}
    for hundred in range(110):
        users = [UserId(UUID(int=hundred * 100 + number)) for number in range(100)]
        change = Change(id=UUID(int=1), user_ids=users)
        await fetcher.versions.mark_dirty(change)
        await fetcher.versions.clear_dirty(change)
        seen.add((await fetcher.fetch()).version)
    assert await fetcher.client.hlen("auth:version") < 10_010
    assert await fetcher.client.ttl("auth:version") == -1
    assert (await fetcher.fetch()).stable
    assert len(seen) > 2  # Ada's, when the first hundred were changed, and when all were forgotten

    await RedisAccessCache(fetcher.client, TTL).put(ADA, "v1", access(CODE))
    keys = sorted([key async for key in fetcher.client.scan_iter()])
    assert [key for key in keys if "session" not in key and "refresh" not in key] == [
        f"auth:permission:<{{{ADA}}}>",
        "auth:version",
    ]
    assert 0 < await fetcher.client.ttl(f"auth:permission:<{{{ADA}}}>") <= TTL.total_seconds()


@pytest.mark.server
async def test_the_cache_takes_what_another_release_wrote_for_nothing(
    redis_url: str, stack: AsyncExitStack
) -> None:
    client = client_of(redis_url, stack)
    cache = RedisAccessCache(client, TTL)
    await cache.put(ADA, "v1", access(CODE))
    key = f"auth:permission:<{{{ADA}}}>"
    stored = str(await client.get(key))
    assert await cache.get(ADA, "v1") == access(CODE)
    await client.set(key, stored.replace("[3, ", "[2, ", 1))
    assert await cache.get(ADA, "v1") is None


@pytest.mark.server
@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["begin", "begin", "finish", "pass time", "nothing"]),
            st.sampled_from([(ADA,), (GRACE_HOPPER,), (ADA, GRACE_HOPPER), ()]),
            st.booleans(),
            st.integers(0, 3),
            st.sampled_from([1, 20, 40, 60]),
        ),
        max_size=25,
    )
)
async def test_memory_and_redis_agree_about_versions(
    redis_url: str, steps: list[tuple[str, tuple[UserId, ...], bool, int, int]]
) -> None:
    async with AsyncExitStack() as stack:
        client = client_of(redis_url, stack)
        await client.flushdb()
        clock = ClockWithRedis(client)
        stores: list[AccessVersions] = [
            RedisAccessVersions(client),
            MemoryAccessVersions(MemorySessionStore(clock), clock),
        ]
        nobodys = SessionId(UUID(int=0))
        await stores[0].fetch(ADA, nobodys)
        await clock.pass_time(DIRTY_TTL)
        changes: list[Change] = []
        seen: list[dict[tuple[UserId, str], str]] = [{}, {}]
        for step, users, everyone, which, seconds in steps:
            if step == "pass time":
                await clock.pass_time(timedelta(seconds=seconds))
            elif step == "begin":
                changes.append(
                    Change(
                        id=UUID(int=len(changes)), user_ids=users, everyone=everyone and not users
                    )
                )
                for store in stores:
                    await store.mark_dirty(changes[-1])
            elif step != "nothing" and which < len(changes):
                for store in stores:
                    await store.clear_dirty(changes[-1 - which])
            for user_id in (ADA, GRACE_HOPPER):
                one, other = [await store.fetch(user_id, nobodys) for store in stores]
                assert one.stable == other.stable
                # Whenever one of them moves, so does the other; the last word is the period of time.
                versions = [fetch.version.rpartition(" ")[0] for fetch in (one, other)]
                assert seen[0].setdefault((user_id, versions[0]), versions[1]) == versions[1]
                assert seen[1].setdefault((user_id, versions[1]), versions[0]) == versions[0]


# --- the guard ----------------------------------------------------------------------------------


def access(*grants: str) -> Access:
    return Access(
        is_active=True,
        is_admin=False,
        must_change_password=False,
        grants=grants_of([a_role(*grants)]),
    )


class PlainTokens:
    """A token names its user and its session."""

    def verify_access(self, token: str) -> AccessClaims:
        user_id, session_id = token.split()
        return AccessClaims(
            user_id=UserId(UUID(user_id)),
            session_id=SessionId(UUID(session_id)),
            token_id=TokenId(UUID(int=0)),
            issued_at=A_MOMENT,
            expires_at=A_MOMENT,
            authenticated_at=A_MOMENT,
        )


class Process:
    """What a process has: its own connections, its own guard, its own memory of everybody."""

    def __init__(self, postgres_url: str, redis_url: str, stack: AsyncExitStack) -> None:
        self._engine = postgres_engine(
            PostgresSettings(url=postgres_url, timeout=timedelta(seconds=10))
        )
        stack.push_async_callback(self._engine.dispose)
        self.redis = client_of(redis_url, stack, patience=5 * SECOND)
        self.sessions = RedisSessionStore(self.redis)
        self.versions = RedisAccessVersions(self.redis, dirty_ttl=SOON)
        self.guard = Guard(
            uow=self.uow,
            tokens=cast("Tokens", PlainTokens()),
            store=self.sessions,
            versions=self.versions,
            cache=LocalAccessCache(RedisAccessCache(self.redis, TTL), 1000),
        )
        self.commit = CommitAccessChange(versions=self.versions, ids=Uuid7Generator())
        self.has_database = True

    def uow(self) -> UnitOfWork:
        if not self.has_database:
            raise Unavailable("PostgreSQL")
        return PostgresUnitOfWork(self._engine)

    def change(
        self, user_ids: Collection[UserId] = (), *, everyone: bool = False
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        return changing(self.uow, self.commit, user_ids, everyone=everyone)

    async def may(self, token: str, permission: str = CODE) -> bool:
        try:
            await self.guard(token, SOMEWHERE, permission=permission)
        except PermissionDenied:
            return False
        return True

    async def remembers(self, token: str) -> bool:
        """Tell whether the guard would let somebody through or not without the database."""
        self.has_database = False
        try:
            await self.may(token)
        except Unavailable:
            return False
        else:
            return True
        finally:
            self.has_database = True

    async def committed(self, user: User) -> Access:
        async with self.uow() as uow:
            access = await uow.roles.access_of(user.id)
        assert access is not None
        return access

    async def given(self, user: User, role: Role) -> str:
        """Store a user who has this role; return the token of a session of theirs."""
        async with self.uow() as uow:
            await uow.users.add(user)
            await uow.roles.add(role)
            await uow.roles.assign(user.id, [role.id])
            await uow.commit()
        return await self.log_in(user)

    async def log_in(self, user: User) -> str:
        """Return the token of a new session."""
        session = a_session(user_id=user.id)
        await self.sessions.open(session, idle=IDLE, absolute=ABSOLUTE, cap=20)
        return f"{user.id} {session.id}"

    async def let(self, role: Role, *grants: str) -> None:
        """Change what a role gives."""
        async with self.change(everyone=True) as uow:
            await uow.roles.lock([role.id])
            await uow.roles.save(replace(role, grants=frozenset(map(Grant, grants))))


@pytest.mark.server
async def test_a_warm_request_costs_one_round_trip_to_redis_and_no_sql(
    redis_url: str, postgres_url: str, stack: AsyncExitStack
) -> None:
    to_redis = await stack.enter_async_context(link_to(redis_url))
    to_postgres = await stack.enter_async_context(link_to(postgres_url))
    process = Process(to_postgres.url(postgres_url), to_redis.url(redis_url), stack)
    token = await process.given(a_user(), a_role(CODE))

    async def is_remembered() -> bool:
        return await process.may(token) and await process.remembers(token)

    await until(is_remembered)
    for requests in (1, 64):
        before = to_redis.questions, to_postgres.questions
        assert all(await asyncio.gather(*(process.may(token) for _ in range(requests))))
        assert (to_redis.questions, to_postgres.questions) == (before[0] + 1, before[1])


@pytest.mark.server
async def test_those_who_are_not_remembered_cost_one_more_round_trip_together(
    redis_url: str, postgres_url: str, stack: AsyncExitStack
) -> None:
    to_redis = await stack.enter_async_context(link_to(redis_url))
    to_postgres = await stack.enter_async_context(link_to(postgres_url))
    first = Process(postgres_url, redis_url, stack)
    role = a_role(CODE)
    tokens = [await first.given(a_user(), role)]
    for _ in range(63):
        user = a_user()
        async with first.uow() as uow:
            await uow.users.add(user)
            await uow.roles.assign(user.id, [role.id])
            await uow.commit()
        tokens.append(await first.log_in(user))

    async def are_shared() -> bool:
        return all([await first.may(token) and await first.remembers(token) for token in tokens])

    await until(are_shared)
    second = Process(to_postgres.url(postgres_url), to_redis.url(redis_url), stack)
    await second.redis.ping()
    await second.may(tokens[0])
    before = to_redis.questions, to_postgres.questions
    assert all(await asyncio.gather(*(second.may(token) for token in tokens)))
    assert (to_redis.questions, to_postgres.questions) == (before[0] + 2, before[1])


@pytest.mark.server
async def test_a_change_is_in_force_at_the_next_request_of_every_process(
    redis_url: str, postgres_url: str, stack: AsyncExitStack
) -> None:
    processes = [Process(postgres_url, redis_url, stack) for _ in range(3)]
    role, user = a_role(), a_user()
    token = await processes[0].given(user, role)
    for number in range(30):
        writer = processes[number % 3]
        may = bool(number % 2)
        await writer.let(role, *([CODE] if may else []))
        for process in processes:
            assert await process.may(token) is may


async def test_a_change_may_be_made_although_redis_lost_everything_right_before_the_commit(
    postgres_url: str, server: Valkey, stack: AsyncExitStack
) -> None:
    process = Process(postgres_url, server.url, stack)
    role, user = a_role(CODE), a_user()
    await process.given(user, role)

    async with process.change([user.id]) as uow:
        await uow.users.lock(user.id)
        await uow.roles.assign(user.id, [])
        await process.redis.flushall()

    assert not (await process.committed(user)).allows(CODE)
    token = await process.log_in(user)

    async def is_remembered() -> bool:
        assert not await process.may(token)
        return await process.remembers(token)

    await until(is_remembered)


@pytest.mark.server
async def test_a_commit_that_comes_too_late_finds_no_user(
    redis_url: str, postgres_url: str, stack: AsyncExitStack
) -> None:
    """`AccessVersions` counts on it. Here the database waits for 0.3 seconds, and not for 30."""
    link = await stack.enter_async_context(link_to(postgres_url))
    near = Process(postgres_url, redis_url, stack)
    far = Process(link.url(postgres_url), redis_url, stack)
    user = a_user()
    token = await near.given(user, a_role(CODE))
    frozen = asyncio.Event()

    async def change() -> None:
        async with far.change([user.id]) as uow:
            await uow.users.lock(user.id)
            await uow.roles.assign(user.id, [])
            transaction = cast("PostgresUnitOfWork", uow)._transaction
            await transaction.write(text("SET LOCAL idle_in_transaction_session_timeout = '300ms'"))
            link.freeze()
            frozen.set()

    changing = asyncio.create_task(change())
    await frozen.wait()
    async with near.uow() as uow:
        await uow.users.lock(user.id)  # the holder of this lock is gone
    link.thaw()
    with pytest.raises(Unavailable):
        await changing
    assert (await near.committed(user)).allows(CODE)
    assert await near.may(token)


STEPS = ("written", "begun", "committing", "committed", "finished")


@pytest.mark.server
@pytest.mark.parametrize("step", STEPS)
async def test_wherever_a_writer_is_killed_every_process_knows_what_is_committed(
    redis_url: str, postgres_url: str, stack: AsyncExitStack, step: str
) -> None:
    processes = [Process(postgres_url, redis_url, stack) for _ in range(2)]
    role, user = a_role(CODE), a_user()
    token = await processes[0].given(user, role)
    guards: list[Callable[[str], Awaitable[bool]]] = [process.may for process in processes]
    guards.append(await another_process(postgres_url, redis_url, stack))

    async def all_are_right() -> None:
        """Assert that all decide by what is committed, in any order of events."""
        while True:
            before = (await processes[0].committed(user)).allows(CODE)
            decisions = [await may(token) for may in guards]
            if (await processes[0].committed(user)).allows(CODE) is before:
                assert decisions == [before] * 3
                return

    async def all_remember() -> bool:
        await all_are_right()
        return all([await process.remembers(token) for process in processes])

    await until(all_remember)
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __spec__.name, "write", step, postgres_url, redis_url),
        *(str(user.id),),
    )
    death = asyncio.create_task(writer.wait())
    while not death.done():
        await all_are_right()
    assert await death == (-signal.SIGKILL)
    await until(all_remember)
    may = (await processes[0].committed(user)).allows(CODE)
    if step != "committing":
        assert may is (step not in {"committed", "finished"})


class Storm:
    """Changes of one role and of one user's roles, and requests of that user, all at once.

    Every change commits a greater number than the one before, as `GET:/shared/<number>` or `GET:/own/<number>`.
    """

    def __init__(self, processes: list[Process]) -> None:
        self.processes = processes
        self.user, self.shared = a_user(), a_role("GET:/shared/0")
        self.own = [a_role(f"GET:/own/{number}") for number in range(60)]
        self.begun = {"shared": 0, "own": 0}
        self.returned = {"shared": 0, "own": 0}
        self.requests = 0
        self.token = ""

    async def rage(self, disturbance: Awaitable[None]) -> None:
        self.token = await self.processes[0].given(self.user, self.shared)
        async with self.processes[0].uow() as uow:
            for role in self.own:
                await uow.roles.add(role)
            await uow.commit()
        await self._assign(self.processes[0], 0)
        writing = asyncio.gather(self._write("shared"), self._write("own"), disturbance)
        await asyncio.gather(
            writing, *(self._read(process, writing) for process in self.processes * 2)
        )

    async def _write(self, kind: str) -> None:
        for number in range(1, len(self.own)):
            self.begun[kind] = number
            process = self.processes[number % len(self.processes)]
            with suppress(Unavailable):
                if kind == "shared":
                    await process.let(self.shared, f"GET:/shared/{number}")
                else:
                    await self._assign(process, number)
                self.returned[kind] = number
            await asyncio.sleep(0.02)

    async def _assign(self, process: Process, number: int) -> None:
        async with process.change([self.user.id]) as uow:
            await uow.users.lock(self.user.id)
            await uow.roles.assign(self.user.id, [self.shared.id, self.own[number].id])

    async def _read(self, process: Process, writing: asyncio.Future[Any]) -> None:
        while not writing.done():
            least = dict(self.returned)
            try:
                caller = await process.guard(self.token, SOMEWHERE)
            except Unavailable:
                await asyncio.sleep(0.01)
                continue
            except InvalidToken:  # the sessions of a server end with it
                with suppress(Unavailable):
                    self.token = await process.log_in(self.user)
                continue
            for grant in caller.access.grants.exact:
                _, kind, number = grant.split("/")
                assert least[kind] <= int(number) <= self.begun[kind]
            self.requests += 1


async def test_in_a_storm_every_request_sees_what_was_committed_when_it_was_made(
    postgres_url: str, server: Valkey, stack: AsyncExitStack
) -> None:
    """Although the server of versions dies now and then."""
    processes = [Process(postgres_url, server.url, stack) for _ in range(3)]
    storm = Storm(processes)

    async def disturb() -> None:
        for _ in range(3):
            await asyncio.sleep(0.5)
            await restart(server, processes[0].redis)

    await storm.rage(disturb())
    assert storm.returned == {"shared": 59, "own": 59}
    assert storm.requests > 100


async def another_process(
    postgres_url: str, redis_url: str, stack: AsyncExitStack
) -> Callable[[str], Awaitable[bool]]:
    """Start a process with a guard; return how to ask it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __spec__.name, "guard", postgres_url, redis_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    questions, answers = process.stdin, process.stdout

    async def stop() -> None:
        questions.close()
        assert await process.wait() == 0

    stack.push_async_callback(stop)

    async def may(token: str) -> bool:
        questions.write(f"{token}\n".encode())
        return await answers.readline() == b"True\n"

    return may


# --- the other process --------------------------------------------------------------------------


class Mortal:
    """Dies at one step of a change."""

    def __init__(self, step: str) -> None:
        self._step = step

    def reached(self, step: str) -> None:
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalVersions(RedisAccessVersions):
    mortal: Mortal

    async def mark_dirty(self, change: Change) -> None:
        await super().mark_dirty(change)
        self.mortal.reached("begun")

    async def clear_dirty(self, change: Change) -> None:
        self.mortal.reached("committed")
        await super().clear_dirty(change)
        self.mortal.reached("finished")


class MortalUnitOfWork(PostgresUnitOfWork):
    mortal: Mortal

    async def commit(self) -> None:
        committing = asyncio.ensure_future(super().commit())
        await asyncio.sleep(0)  # it is sent, and no task waits for the answer
        self.mortal.reached("committing")
        await committing


async def write(step: str, postgres_url: str, redis_url: str, user: str) -> None:
    """Take all roles from a user, as far as one gets."""
    user_id = UserId(UUID(user))
    async with AsyncExitStack() as stack:
        process = Process(postgres_url, redis_url, stack)
        MortalVersions.mortal = MortalUnitOfWork.mortal = mortal = Mortal(step)
        engine = postgres_engine(PostgresSettings(url=postgres_url))
        commit = CommitAccessChange(
            versions=MortalVersions(process.redis, dirty_ttl=SOON), ids=Uuid7Generator()
        )
        async with changing(lambda: MortalUnitOfWork(engine), commit, [user_id]) as uow:
            await uow.users.lock(user_id)
            await uow.roles.assign(user_id, [])
            mortal.reached("written")


async def guard(postgres_url: str, redis_url: str) -> None:
    """Say of every token that is asked about whether it may."""
    async with AsyncExitStack() as stack:
        process = Process(postgres_url, redis_url, stack)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(await process.may(line), flush=True)  # noqa: T201 - read by the test


if __name__ == "__main__":
    what, *operands = sys.argv[1:]
    processes_: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "write": write,
        "guard": guard,
    }
    asyncio.run(processes_[what](*operands))
