"""Refreshing against a real server, in storms and through its failures.

No honest client is logged out by another tab, a lost reply or a restart, and no token that was used up works again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.unit_of_work import MemoryUnitOfWork
from adapters.redis.client import RedisClient, redis_client
from adapters.redis.sessions import RedisSessionStore
from adapters.security.tokens import JoseTokens
from adapters.system import Uuid7Generator
from application.settings import Limit, RedisSettings, SessionSettings, ThrottleSettings
from application.use_cases.caller import Origin
from application.use_cases.documents import RecordAudit
from application.use_cases.sessions.refresh import RefreshSession
from application.use_cases.sessions.tokens import IssueTokens
from domain.errors import Unavailable
from domain.sessions import (
    AgentBinding,
    Rotation,
    RotationOutcome,
    Session,
    TokenId,
    fingerprint,
)
from tests.fakes.builders import A_MOMENT, a_user
from tests.fakes.clock import MovableClock
from tests.fakes.security import keys_with
from tests.fakes.sessions import ADA, FIREFOX, GRACE, IDLE, a_session, a_token_id, token_of
from tests.valkey import Valkey

PLENTY = Limit(100_000, 1)


async def refresh(
    store: RedisSessionStore, holder: Session, *, minutes: int = 0, successor: TokenId | None = None
) -> Rotation:
    """Show the token of `holder`, some minutes after its session was opened."""
    return await store.rotate(
        token_of(holder),
        successor=successor or a_token_id(),
        fingerprint=FIREFOX,
        now=A_MOMENT + timedelta(minutes=minutes),
        idle=IDLE,
        grace=GRACE,
        limit=PLENTY,
    )


async def refreshed(store: RedisSessionStore, holder: Session, *, minutes: int = 0) -> Session:
    rotation = await refresh(store, holder, minutes=minutes)
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
    session = a_session()
    await store.open(session, idle=IDLE, cap=20)
    for minutes in range(200):
        storm = await asyncio.gather(*(refresh(store, session, minutes=minutes) for _ in range(50)))
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
    keys, stored, store = keys_with(), MemoryStore(), RedisSessionStore(client)
    tokens = JoseTokens(keys.access, keys.refresh, settings, clock)
    issue = IssueTokens(tokens=tokens, clock=clock, ids=ids, settings=settings)
    refresh_session = RefreshSession(
        uow=lambda: MemoryUnitOfWork(stored),
        tokens=tokens,
        store=store,
        issue=issue,
        clock=clock,
        ids=ids,
        audit=RecordAudit(clock, ids),
        settings=settings,
        throttle=ThrottleSettings(),
    )
    user = a_user()
    stored.users[user.id] = user
    origin = Origin(address="192.0.2.1", agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")
    session = a_session(user_id=user.id, fingerprint=fingerprint(origin.agent, AgentBinding.FAMILY))
    await store.open(session, idle=IDLE, cap=20)
    token = issue(session).refresh_token

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
    session = a_session()
    await store.open(session, idle=IDLE, cap=20)
    session = await refreshed(store, session)
    async with LossyLine(server.port) as line:
        settings = RedisSettings(
            url=f"redis://127.0.0.1:{line.port}/0", timeout=timedelta(seconds=0.3)
        )
        client = redis_client(settings)
        far = RedisSessionStore(client)
        assert await far.find(ADA, session.id) == session

        line.loses_replies = True
        with pytest.raises(Unavailable):
            await refresh(far, session, minutes=1)
        line.loses_replies = False
        retried = await refresh(far, session, minutes=1)

        assert retried.outcome is RotationOutcome.REPEATED
        assert retried.session == await store.find(ADA, session.id)
        await client.aclose()
    assert retried.session is not None
    await refreshed(store, retried.session, minutes=2)


# --- servers that are lost ----------------------------------------------------------------------


async def test_sessions_survive_a_server_that_is_killed(
    server: Valkey, store: RedisSessionStore
) -> None:
    session, logged_out = a_session(), a_session()
    await store.open(session, idle=IDLE, cap=20)
    await store.open(logged_out, idle=IDLE, cap=20)
    successor = await refreshed(store, session, minutes=10)
    await store.end(ADA, logged_out.id)

    await server.kill()
    with pytest.raises(Unavailable):
        await store.find(ADA, session.id)
    await server.start()

    assert list(await store.of_user(ADA)) == [successor]
    repeated = await refresh(store, session, minutes=10)
    assert repeated == Rotation(outcome=RotationOutcome.REPEATED, session=successor)
    await refreshed(store, successor, minutes=20)
    assert (await refresh(store, logged_out)).outcome is RotationOutcome.UNKNOWN


async def test_a_server_that_lost_everything_logs_out_without_alarm(
    store: RedisSessionStore, server: Valkey
) -> None:
    session = a_session()
    await store.open(session, idle=IDLE, cap=20)
    eraser = redis_client(RedisSettings(url=server.url))
    await eraser.flushall()
    await eraser.aclose()

    assert await store.find(ADA, session.id) is None
    assert await refresh(store, session) == Rotation(outcome=RotationOutcome.UNKNOWN)


async def test_after_a_restore_from_a_backup_no_used_up_token_works_again(
    store: RedisSessionStore, server: Valkey, tmp_path: Path
) -> None:
    """The backup takes for current what was rotated away since; the honest client logs in again, without alarm."""
    first = a_session()
    await store.open(first, idle=IDLE, cap=20)
    await server.kill()
    server.copy_data_to(tmp_path / "backup")
    await server.start()
    second = await refreshed(store, first, minutes=10)
    third = await refreshed(store, second, minutes=20)

    await server.kill()
    server.restore_data_from(tmp_path / "backup")
    await server.start()

    assert await store.find(ADA, first.id) == first
    assert (await refresh(store, third, minutes=30)).outcome is RotationOutcome.UNKNOWN
    assert (await refresh(store, first, minutes=30)).outcome is RotationOutcome.UNKNOWN
    assert await store.find(ADA, first.id) is None


async def test_after_a_restore_a_thief_who_comes_first_is_found_out_by_the_owner(
    store: RedisSessionStore, server: Valkey, tmp_path: Path
) -> None:
    first = a_session()
    await store.open(first, idle=IDLE, cap=20)
    await server.kill()
    server.copy_data_to(tmp_path / "backup")
    await server.start()
    second = await refreshed(store, first, minutes=10)

    await server.kill()
    server.restore_data_from(tmp_path / "backup")
    await server.start()

    await refreshed(store, first, minutes=20)
    assert (await refresh(store, second, minutes=21)).outcome is RotationOutcome.REUSED
    assert await store.find(ADA, first.id) is None
