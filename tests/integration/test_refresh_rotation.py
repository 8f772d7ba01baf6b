"""Refreshing against a real server, in storms and through its failures.

No honest client is logged out by another tab, a lost reply or a restart, and no token that was used up works again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, cast

import pytest
from redis.asyncio import Redis

from adapters.memory.metrics import MemoryMetrics
from adapters.memory.store import MemoryStore
from adapters.memory.unit_of_work import MemoryUnitOfWork
from adapters.redis.access_cache import RedisAccessCache
from adapters.redis.access_versions import RedisAccessVersions
from adapters.redis.client import RedisClient, redis_client
from adapters.redis.log_in_throttle import RedisLogInThrottle
from adapters.redis.sessions import RedisSessionStore, session_key
from adapters.security.tokens import JoseTokens
from adapters.system import SystemClock, Uuid7Generator
from application.settings import Limit, RedisSettings, SessionSettings, Settings, ThrottleSettings
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller, ClientInfo
from application.use_cases.identity.changes import UserChange
from application.use_cases.sessions.refresh import RefreshSession
from application.use_cases.sessions.tokens import IssueTokens
from domain.errors import Unavailable
from domain.identity import User, UserStatus
from domain.log_in_throttle import Throttled
from domain.sessions import (
    AgentBinding,
    InvalidCredentials,
    InvalidToken,
    Rotation,
    RotationOutcome,
    Session,
    SessionCompromised,
    TokenId,
    fingerprint,
)
from tests.support.builders import a_user
from tests.support.clock import MovableClock
from tests.support.keys import keys_with
from tests.support.redis_clock import TimedRedis
from tests.support.sessions import (
    ABSOLUTE,
    ADA,
    FIREFOX,
    GRACE,
    IDLE,
    a_session,
    a_token_id,
    token_of,
)
from tests.support.valkey import Valkey
from tests.support.world import IN_MEMORY, PASSWORD, World

PLENTY = Limit(100_000, 1)


async def log_in(store: RedisSessionStore) -> Session:
    return (await store.open(a_session(), idle=IDLE, absolute=ABSOLUTE, cap=20)).session


async def refresh(
    store: RedisSessionStore, holder: Session, *, successor: TokenId | None = None
) -> Rotation:
    """Show the token of `holder`."""
    return await store.rotate(
        token_of(holder),
        successor=successor or a_token_id(),
        fingerprint=FIREFOX,
        valid_from=holder.valid_from,
        idle=IDLE,
        grace=GRACE,
        limit=PLENTY,
    )


async def refreshed(store: RedisSessionStore, holder: Session) -> Session:
    rotation = await refresh(store, holder)
    assert rotation.outcome is RotationOutcome.ROTATED
    assert rotation.session is not None
    return rotation.session


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    client = redis_client(RedisSettings(url=redis_url, timeout=timedelta(seconds=30)))
    yield client
    await client.aclose()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    directory = tmp_path / "valkey"
    directory.mkdir()
    with Valkey(directory) as server:
        yield server


@pytest.fixture
async def store(server: Valkey) -> AsyncIterator[RedisSessionStore]:
    """Return a store on a server of its own."""
    client = redis_client(RedisSettings(url=server.url))
    yield RedisSessionStore(client)
    await client.aclose()


# --- storms -------------------------------------------------------------------------------------


@pytest.mark.server
async def test_in_200_storms_of_50_refreshes_each_token_has_one_successor(
    client: RedisClient,
) -> None:
    store = RedisSessionStore(client)
    session = await log_in(store)
    for _ in range(200):
        storm = await asyncio.gather(*(refresh(store, session) for _ in range(50)))
        outcomes = [rotation.outcome for rotation in storm]
        assert outcomes.count(RotationOutcome.ROTATED) == 1
        assert outcomes.count(RotationOutcome.REPEATED) == 49
        (successor,) = {rotation.session for rotation in storm}
        assert successor is not None
        session = successor
    assert await store.find(ADA, session.id) == session


@pytest.mark.server
async def test_all_tabs_of_a_storm_get_the_same_refresh_token_and_none_is_logged_out(
    client: RedisClient,
) -> None:
    """The whole use case, with real signatures: RS256 signs equal claims equally."""
    clock, ids, settings = MovableClock(), Uuid7Generator(), SessionSettings()
    keys, stored, store = keys_with(), MemoryStore(), RedisSessionStore(TimedRedis(client, clock))
    tokens = JoseTokens(keys.access, keys.refresh, settings, clock)
    issue = IssueTokens(tokens=tokens, clock=clock, ids=ids, settings=settings)
    refresh_session = RefreshSession(
        uow=lambda: MemoryUnitOfWork(stored),
        tokens=tokens,
        store=store,
        issue=issue,
        ids=ids,
        audit=RecordAudit(clock, ids),
        metrics=MemoryMetrics(),
        settings=settings,
        throttle=ThrottleSettings(),
    )
    user = a_user()
    stored.users[user.id] = user
    origin = ClientInfo(address="192.0.2.1", agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")
    session = a_session(user_id=user.id, fingerprint=fingerprint(origin.agent, AgentBinding.FAMILY))
    opened = await store.open(session, idle=IDLE, absolute=ABSOLUTE, cap=20)
    token = issue(opened.session).refresh_token

    for _ in range(10):
        await clock.pass_time(timedelta(minutes=9))
        pairs = await asyncio.gather(*(refresh_session(token, origin) for _ in range(50)))
        (token,) = {pair.refresh_token for pair in pairs}
        assert len({pair.access_token for pair in pairs}) == 50
        for pair in pairs[:5]:
            assert tokens.verify_access(pair.access_token).session_id == session.id

    (living,) = await store.of_user(user.id)
    assert living.token_id == tokens.verify_refresh(token).token_id


# --- replies that are lost ----------------------------------------------------------------------


class LossyLine:
    """A line to a server on which replies can be lost."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.loses_replies = False

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = int(self._listener.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.wait_closed()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._carry(reader, requests, lossy=False)
        self._carry(answers, writer, lossy=True)

    def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, lossy: bool
    ) -> None:
        async def carry() -> None:
            try:
                while data := await reader.read(65536):
                    if not (lossy and self.loses_replies):
                        writer.write(data)
            finally:
                writer.close()

        task = asyncio.create_task(carry())
        self._tasks.add(task)


async def test_after_a_lost_reply_the_retry_gets_the_successor_that_was_lost(
    server: Valkey, store: RedisSessionStore
) -> None:
    session = await refreshed(store, await log_in(store))
    async with LossyLine(server.port) as line:
        settings = RedisSettings(
            url=f"redis://127.0.0.1:{line.port}/0", timeout=timedelta(seconds=0.3)
        )
        client = redis_client(settings)
        far = RedisSessionStore(client)
        assert await far.find(ADA, session.id) == session

        line.loses_replies = True
        with pytest.raises(Unavailable):
            await refresh(far, session)
        line.loses_replies = False
        retried = await refresh(far, session)

        assert retried.outcome is RotationOutcome.REPEATED
        assert retried.session == await store.find(ADA, session.id)
        await client.aclose()
    assert retried.session is not None
    await refreshed(store, retried.session)


# --- clocks that differ -------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.parametrize("seconds", [20, -20])
async def test_grace_is_measured_by_one_clock_though_those_of_two_hosts_differ(
    client: RedisClient, seconds: int
) -> None:
    """Less than the leeway that tokens are given: a second tab is no theft, and the grace period is no longer."""
    grace = timedelta(seconds=1)
    here, there = worlds_on(
        client, apart=timedelta(seconds=seconds), sessions=SessionSettings(refresh_grace=grace)
    )
    await here.given(ada := a_user())
    _, first = await here.log_in_as(ada)
    second = await here.refresh(first)

    assert (await there.refresh(first)).refresh_token == second.refresh_token

    await asyncio.sleep(grace.total_seconds())
    for host in (there, here):
        with pytest.raises(SessionCompromised if host is there else InvalidToken):
            await host.refresh(first)


@pytest.mark.server
@pytest.mark.parametrize("seconds", [20, -20])
async def test_attempts_and_locks_are_counted_by_one_clock_though_those_of_two_hosts_differ(
    client: RedisClient, seconds: int
) -> None:
    limits = ThrottleSettings(account=Limit(4, 20), lock_after=3)
    here, there = worlds_on(client, apart=timedelta(seconds=seconds), throttle=limits)
    await here.given(ada := a_user())
    for host in (here, there, here):
        with pytest.raises(InvalidCredentials):
            await host.log_in(ada.username.value, "wrong")

    with pytest.raises(InvalidCredentials):  # locked, there as well
        await there.log_in(ada.username.value)
    for host in (here, there):
        with pytest.raises(Throttled) as refusal:
            await host.log_in(ada.username.value)
        assert timedelta(seconds=3) < refusal.value.retry_after <= timedelta(seconds=5)


def worlds_on(client: RedisClient, *, apart: timedelta, **settings: Any) -> tuple[World, World]:
    """Return two hosts with the same users and the same Redis, whose clocks are `apart`."""
    here = world_on(client, replace(IN_MEMORY, **settings))
    there = world_on(client, replace(IN_MEMORY, **settings), memory_store=here.store)
    there.container.tokens.override(here.container.tokens())
    for world, ahead in ((here, timedelta(0)), (there, apart)):
        world.clock.set(SystemClock().now() + ahead)
    return here, there


def world_on(client: RedisClient, settings: Settings = IN_MEMORY, **replaced: object) -> World:
    """Return a world whose sessions, throttles and versions of access are in Redis."""
    world = World(
        settings,
        session_store=RedisSessionStore(client),
        log_in_throttle=RedisLogInThrottle(client, settings.throttle, b"k" * 32),
        access_versions=RedisAccessVersions(client),
        access_cache=RedisAccessCache(client, timedelta(minutes=10)),
        **replaced,
    )
    world.clock.set(SystemClock().now())
    return world


# --- servers that are lost ----------------------------------------------------------------------


async def test_a_server_that_was_restarted_logs_everybody_out_without_alarm(
    server: Valkey, store: RedisSessionStore
) -> None:
    """It may have been killed before it wrote that a session was ended."""
    session = await log_in(store)
    await server.kill()
    with pytest.raises(Unavailable):
        await store.find(ADA, session.id)
    await server.start()

    assert await store.find(ADA, session.id) is None
    assert await refresh(store, session) == Rotation(outcome=RotationOutcome.UNKNOWN)
    assert list(await store.of_user(ADA)) == []
    again = await log_in(store)
    assert list(await store.of_user(ADA)) == [again]
    await refreshed(store, again)


async def test_keys_left_by_another_run_of_redis_are_deleted_and_count_for_nothing(
    server: Valkey, store: RedisSessionStore
) -> None:
    for _ in range(3):
        await log_in(store)
    await server.kill()
    await server.start()

    opened = await store.open(a_session(), idle=IDLE, absolute=ABSOLUTE, cap=1)

    assert list(opened.ended) == []
    client = redis_client(RedisSettings(url=server.url))
    assert len(await client.keys("*")) == 3
    await client.aclose()
    await server.kill()
    await server.start()
    assert await store.end_all(ADA) == 0


async def test_a_server_that_lost_everything_logs_out_without_alarm(
    store: RedisSessionStore, server: Valkey
) -> None:
    session = await log_in(store)
    eraser = redis_client(RedisSettings(url=server.url))
    await eraser.flushall()
    await eraser.aclose()

    assert await store.find(ADA, session.id) is None
    assert await refresh(store, session) == Rotation(outcome=RotationOutcome.UNKNOWN)


async def test_a_replica_that_takes_over_revives_no_session(
    server: Valkey, store: RedisSessionStore, tmp_path: Path
) -> None:
    """It may not have heard that the session was ended."""
    session = await log_in(store)
    (tmp_path / "replica").mkdir()
    options = ("--replicaof", f"127.0.0.1 {server.port}")
    with Valkey(tmp_path / "replica", *options) as replica:
        client = redis_client(RedisSettings(url=replica.url))
        async with asyncio.timeout(30):
            while True:
                if await client.exists(session_key(ADA, session.id)):
                    break
                await asyncio.sleep(0.01)
        await client.execute_command("REPLICAOF", "NO", "ONE")
        assert await store.end(ADA, session.id)

        there = RedisSessionStore(client)
        assert await there.find(ADA, session.id) is None
        assert (await refresh(there, session)).outcome is RotationOutcome.UNKNOWN
        await client.aclose()


@dataclass(frozen=True, slots=True)
class Copy:
    """What a server held at some time, and how it gets it back."""

    server: Valkey
    client: RedisClient
    directory: Path
    keys: Mapping[bytes, bytes]

    @classmethod
    async def of(cls, server: Valkey, client: RedisClient, directory: Path) -> Self:
        await client.config_set("appendfsync", "always")
        raw = Redis.from_url(server.url)
        names = cast("list[bytes]", await raw.keys("auth:*"))
        keys = {name: cast("bytes", await raw.dump(name)) for name in names}
        await raw.aclose()
        server.copy_data_to(directory)
        return cls(server, client, directory, keys)

    async def restore_files(self) -> None:
        """Start the server anew, with what the copy has on disk."""
        await self.server.kill()
        self.server.restore_data_from(self.directory)
        await self.server.start()

    async def restore_keys(self) -> None:
        """Write the old keys over the new ones of a server that goes on running."""
        raw = Redis.from_url(self.server.url)
        for key, dumped in self.keys.items():
            await raw.restore(key, 10**9, dumped, replace=True)
        await raw.aclose()


async def end_all(world: World, user: User, caller: Caller) -> None:
    await world.container.log_out_everywhere()(caller)


async def change_password(world: World, user: User, caller: Caller) -> None:
    await world.change_password(caller, PASSWORD, "another correct horse battery")


async def reset(world: World, user: User, caller: Caller) -> None:
    administrator, _ = await world.log_in_as(await world.given(a_user(is_admin=True)))
    await world.container.reset_password()(administrator, user.id)


async def disable_and_enable(world: World, user: User, caller: Caller) -> None:
    administrator, _ = await world.log_in_as(await world.given(a_user(is_admin=True)))
    for status in (UserStatus.DISABLED, UserStatus.ACTIVE):
        change = UserChange(status=status)
        await world.container.change_user()(administrator, user.id, change)


async def log_out(world: World, user: User, caller: Caller) -> None:
    for session in await world.sessions(user):
        await world.container.end_session()(caller, session.id)


End = Callable[[World, User, Caller], Awaitable[None]]


@pytest.mark.parametrize("end", [log_out, end_all, change_password, reset, disable_and_enable])
async def test_a_server_that_is_restored_from_a_copy_revives_nothing(
    server: Valkey, tmp_path: Path, end: End
) -> None:
    client = redis_client(RedisSettings(url=server.url))
    world = world_on(client)
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)
    _, thiefs = await world.log_in_as(ada)
    await world.authenticate(thiefs)
    copy = await Copy.of(server, client, tmp_path / "copy")
    await end(world, ada, caller)
    await world.pass_time(seconds=1)

    await copy.restore_files()

    assert await client.exists(session_key(ada.id, caller.session_id))
    with pytest.raises(InvalidToken):
        await world.authenticate(thiefs, accepts_one_time_password=True)
    with pytest.raises(InvalidToken):
        await world.refresh(thiefs)
    assert await world.sessions(ada) == []
    await client.aclose()


@pytest.mark.parametrize("end", [end_all, change_password, reset, disable_and_enable])
async def test_a_server_that_is_thrown_back_while_it_runs_refreshes_nothing_that_users_ended(
    server: Valkey, tmp_path: Path, end: End
) -> None:
    """Its run is the same, but the moment at which sessions were ended is kept with the user."""
    client = redis_client(RedisSettings(url=server.url))
    world = world_on(client)
    ada = await world.given(a_user())
    caller, _ = await world.log_in_as(ada)
    _, thiefs = await world.log_in_as(ada)
    copy = await Copy.of(server, client, tmp_path / "copy")
    await world.pass_time(seconds=1)
    await end(world, ada, caller)

    await copy.restore_keys()

    assert len(await world.sessions(ada)) == 2
    with pytest.raises(InvalidToken):
        await world.refresh(thiefs)
    with pytest.raises(InvalidToken):
        await world.authenticate(thiefs, accepts_one_time_password=True)
    await client.aclose()


async def test_the_session_that_changed_the_password_goes_on(server: Valkey) -> None:
    client = redis_client(RedisSettings(url=server.url))
    world = world_on(client)
    ada = await world.given(a_user())
    caller, tokens = await world.log_in_as(ada)
    await world.pass_time(seconds=1)
    await change_password(world, ada, caller)
    await world.refresh(tokens)
    await client.aclose()
