"""Redis itself: what the keys look like, how long they live, and what its failures become."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import exceptions

from adapters.memory.log_in_throttle import MemoryLogInThrottle
from adapters.memory.sessions import MemorySessionStore
from adapters.redis.client import RedisClient, redis_client, unavailable_when_down
from adapters.redis.health import RedisProbe
from adapters.redis.log_in_throttle import RedisLogInThrottle
from adapters.redis.rate_limiter import RedisRateLimiter
from adapters.redis.seen_ciphertexts import RedisSeenCiphertexts
from adapters.redis.sessions import RedisSessionStore
from application.ports.log_in_throttle import LogInAttempt, LogInThrottle, Reservation
from application.ports.sessions import SessionStore
from application.settings import Limit, RedisSettings, ThrottleSettings
from domain.errors import Unavailable
from domain.log_in_throttle import Throttled
from domain.sessions import Session
from tests.support.builders import A_MOMENT
from tests.support.clock import SECOND, MovableClock
from tests.support.link import link_to
from tests.support.redis_clock import ClockWithRedis, TimedRedis
from tests.support.sessions import (
    ABSOLUTE,
    ADA,
    CHROME,
    FIREFOX,
    GRACE,
    IDLE,
    a_session,
    a_token_id,
    token_of,
)
from tests.support.valkey import Valkey, free_port
from tests.support.waiting import until

IMPATIENT = 0.5 * SECOND
SESSION = a_session()
ATTEMPT = LogInAttempt(
    name="ada.lovelace", user_id=None, address="2001:db8::1", device="the token of a device"
)
RESERVATION = Reservation(attempt=ATTEMPT, locked=False, known_device=False)
NAME_KEY = b"k" * 32


def rotate(client: RedisClient, session: Session = SESSION) -> Awaitable[object]:
    return RedisSessionStore(client).rotate(
        token_of(session),
        successor=a_token_id(),
        fingerprint=FIREFOX,
        valid_from=A_MOMENT,
        idle=IDLE,
        grace=GRACE,
        limit=Limit(60, 60),
    )


def throttle(client: RedisClient) -> RedisLogInThrottle:
    return RedisLogInThrottle(client, ThrottleSettings(), NAME_KEY)


Call = Callable[[RedisClient], Awaitable[object]]

WRITES: dict[str, Call] = {
    "open": lambda client: RedisSessionStore(client).open(
        a_session(), idle=IDLE, absolute=ABSOLUTE, cap=20
    ),
    "rotate": rotate,
    "first_use": lambda client: RedisSeenCiphertexts(client).first_use("0" * 64, within=SECOND),
    "reserve": lambda client: throttle(client).reserve(ATTEMPT),
    "failed": lambda client: throttle(client).failed(RESERVATION),
    "succeeded": lambda client: throttle(client).succeeded(RESERVATION, device=ATTEMPT.device),
    "known": lambda client: throttle(client).reserve(ATTEMPT),
    "forget_devices": lambda client: throttle(client).forget_devices(ADA, keep=ATTEMPT.device),
    "hit": lambda client: RedisRateLimiter(client).hit("b", "k", Limit(9, 9)),
}
ENDS: dict[str, Call] = {
    "end": lambda client: RedisSessionStore(client).end(ADA, SESSION.id),
    "end_all": lambda client: RedisSessionStore(client).end_all(ADA),
    "end_others": lambda client: RedisSessionStore(client).end_others(
        ADA, keep=a_session().id, valid_from=A_MOMENT
    ),
}
READS: dict[str, Call] = {
    "find": lambda client: RedisSessionStore(client).find(ADA, SESSION.id),
    "of_user": lambda client: RedisSessionStore(client).of_user(ADA),
    "check": lambda client: RedisProbe(client).check(),
}
EVERYTHING = WRITES | ENDS | READS


@asynccontextmanager
async def client_of(url: str, *, patience: timedelta = 10 * SECOND) -> AsyncIterator[RedisClient]:
    client = redis_client(RedisSettings(url=url, timeout=patience))
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    async with client_of(redis_url) as client:
        yield client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


def timed(client: RedisClient) -> RedisClient:
    """Return the client of a server at which it is `A_MOMENT` for ever."""
    return TimedRedis(client, MovableClock())


async def keys(client: RedisClient) -> list[str]:
    return sorted([key async for key in client.scan_iter()])


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.server
async def test_one_users_keys_carry_the_user_in_their_first_braces(client: RedisClient) -> None:
    session = a_session()
    await RedisSessionStore(timed(client)).open(session, idle=IDLE, absolute=ABSOLUTE, cap=20)
    assert await keys(client) == [
        f"auth:refresh:<{{{ADA}}}>:<{{{session.token_id}}}>",
        f"auth:session:<{{{ADA}}}>:<{{{session.id}}}>",
        f"auth:sessions:<{{{ADA}}}>",
    ]
    assert await client.hgetall(f"auth:refresh:<{{{ADA}}}>:<{{{session.token_id}}}>") == {
        "session": str(session.id),
        "agent": FIREFOX,
        "created_at": str(int(A_MOMENT.timestamp()) * 1_000_000),
    }


@pytest.mark.server
async def test_only_the_current_refresh_token_of_a_session_has_a_key(client: RedisClient) -> None:
    session = a_session()
    store = RedisSessionStore(client)
    await store.open(session, idle=IDLE, absolute=ABSOLUTE, cap=20)
    await rotate(client, session)
    current = await store.find(ADA, session.id)
    assert current is not None
    refresh_keys = [key for key in await keys(client) if key.startswith("auth:refresh:")]
    assert refresh_keys == [f"auth:refresh:<{{{ADA}}}>:<{{{current.token_id}}}>"]


@pytest.mark.server
async def test_every_key_has_a_time_to_live_from_its_first_moment(client: RedisClient) -> None:
    await RedisSessionStore(client).open(SESSION, idle=IDLE, absolute=ABSOLUTE, cap=20)
    for call in WRITES.values():
        await call(client)
        for key in await keys(client):
            assert await client.pttl(key) > 0, key


@pytest.mark.server
async def test_a_set_of_sessions_lives_as_long_as_the_longest_of_them(client: RedisClient) -> None:
    store = RedisSessionStore(client)
    await store.open(a_session(), idle=IDLE, absolute=ABSOLUTE, cap=20)
    await store.open(a_session(), idle=IDLE, absolute=SECOND, cap=20)
    assert await client.pttl(f"auth:sessions:<{{{ADA}}}>") > 6 * 24 * 3600 * 1000


@pytest.mark.server
async def test_reading_the_set_removes_expired_sessions(client: RedisClient) -> None:
    clock, store = ClockWithRedis(client), RedisSessionStore(client)
    await store.open(a_session(), idle=IDLE, absolute=SECOND, cap=20)
    lasting = a_session()
    await store.open(lasting, idle=IDLE, absolute=ABSOLUTE, cap=20)
    await clock.pass_time(2 * SECOND)
    await store.of_user(ADA)
    assert await client.zrange(f"auth:sessions:<{{{ADA}}}>", 0, -1) == [str(lasting.id)]


@pytest.mark.server
async def test_of_a_session_that_ended_no_key_is_left(client: RedisClient) -> None:
    store = RedisSessionStore(client)
    sessions = [a_session() for _ in range(3)]
    for session in sessions:
        await store.open(session, idle=IDLE, absolute=ABSOLUTE, cap=2)
        await rotate(client, session)
    await store.end(ADA, sessions[-1].id)
    await store.end_all(ADA)
    assert await keys(client) == []


@pytest.mark.server
async def test_a_success_leaves_of_an_account_that_it_knows_the_device(client: RedisClient) -> None:
    clock = ClockWithRedis(client)
    login = throttle(TimedRedis(client, clock))
    await login.failed(await login.reserve(ATTEMPT))
    await clock.pass_time(timedelta(hours=1))
    await login.succeeded(await login.reserve(ATTEMPT), device=ATTEMPT.device)
    assert [key for key in await keys(client) if ":account:" in key] == []
    assert len([key for key in await keys(client) if ":devices:" in key]) == 1


@pytest.mark.server
async def test_nothing_in_redis_tells_who_tried_to_log_in(client: RedisClient) -> None:
    for call in ("reserve", "failed", "succeeded", "known"):
        await WRITES[call](client)
    for key in await keys(client):
        for secret in (ATTEMPT.name, str(ATTEMPT.device)):
            assert secret not in key
            assert secret.encode() not in (await client.dump(key) or b"")


@pytest.mark.server
@pytest.mark.parametrize("call", ["open", "first_use", "hit"])
async def test_the_server_itself_forgets_what_has_expired(client: RedisClient, call: str) -> None:
    soon = timedelta(milliseconds=50)
    short: dict[str, Call] = {
        "open": lambda client: RedisSessionStore(client).open(
            SESSION, idle=soon, absolute=soon, cap=20
        ),
        "first_use": lambda client: RedisSeenCiphertexts(client).first_use("0" * 64, within=soon),
        "hit": lambda client: RedisRateLimiter(client).hit("b", "k", Limit(20, 1)),
    }
    await short[call](client)

    async def is_empty() -> bool:
        return not await keys(client)

    await until(is_empty)


async def test_every_call_keeps_to_one_slot_of_a_cluster(tmp_path: Path) -> None:
    """A server in cluster mode refuses a command, and a script, whose keys lie in two slots."""
    bus = ("--cluster-port", str(free_port()))
    with Valkey(tmp_path, "--cluster-enabled", "yes", *bus) as server:
        async with client_of(server.url) as client:
            await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

            async def is_up() -> bool:
                return "cluster_state:ok" in str(await client.execute_command("CLUSTER", "INFO"))

            await until(is_up)
            for name, call in EVERYTHING.items():
                # The probe asks for the address of a cluster; `PING` has no key.
                if name != "check":
                    await call(client)
            store = RedisSessionStore(client)
            for _ in range(3):
                session = a_session()
                await store.open(session, idle=IDLE, absolute=ABSOLUTE, cap=2)
                await rotate(client, session)
            assert len(await store.of_user(ADA)) == 2
            assert await store.end_all(ADA) == 2


# --- scripts ------------------------------------------------------------------------------------


@pytest.mark.server
async def test_a_server_that_forgot_the_scripts_gets_them_again(client: RedisClient) -> None:
    store = RedisSessionStore(client)
    opened = await store.open(SESSION, idle=IDLE, absolute=ABSOLUTE, cap=20)
    await client.script_flush()
    assert list(await store.of_user(ADA)) == [opened.session]


@pytest.mark.server
async def test_a_mistake_of_ours_is_no_failure_of_the_server(client: RedisClient) -> None:
    with pytest.raises(exceptions.ResponseError):
        await client.execute_command("NO SUCH COMMAND")
    with pytest.raises(exceptions.ResponseError):
        await client.eval("return redis.call('GET')", 0)


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", EVERYTHING.values(), ids=EVERYTHING)
async def test_when_nothing_listens_every_call_is_unavailable(call: Call) -> None:
    async with client_of(f"redis://127.0.0.1:{free_port()}/0") as client:
        with pytest.raises(Unavailable, match="Redis"):
            await call(client)


async def test_when_the_server_hangs_every_call_is_unavailable_within_the_timeout(
    server: Valkey,
) -> None:
    async with client_of(server.url, patience=IMPATIENT) as client:
        await READS["check"](client)
        server.pause()

        async def give_up(call: Call) -> float:
            started = monotonic()
            with pytest.raises(Unavailable):
                await call(client)
            return monotonic() - started

        assert max(await asyncio.gather(*map(give_up, EVERYTHING.values()))) < 3
        server.resume()


async def test_when_the_server_hangs_those_who_wait_for_a_connection_wait_no_longer_than_others(
    server: Valkey,
) -> None:
    patience = 2 * SECOND
    async with client_of(server.url, patience=patience) as client:
        server.pause()
        gave_up_at = []

        async def give_up() -> None:
            with pytest.raises(Unavailable):
                await READS["find"](client)
            gave_up_at.append(monotonic())

        await asyncio.gather(*(give_up() for _ in range(200)))
        server.resume()
    # Who waited for a connection first would give up a whole patience later. 200 errors take a busy machine a second.
    assert max(gave_up_at) - min(gave_up_at) < patience.total_seconds() * 0.9


async def test_the_first_call_after_a_restart_succeeds(server: Valkey) -> None:
    async with client_of(server.url) as client:
        store = RedisSessionStore(client)
        await asyncio.gather(*(store.find(ADA, SESSION.id) for _ in range(20)))
        await server.kill()
        with pytest.raises(Unavailable):
            await store.find(ADA, SESSION.id)
        await server.start()
        await asyncio.gather(*(store.find(ADA, SESSION.id) for _ in range(20)))


async def test_the_first_call_after_a_hang_succeeds(server: Valkey) -> None:
    async with client_of(server.url, patience=IMPATIENT) as client:
        await READS["check"](client)
        server.pause()
        with pytest.raises(Unavailable):
            await READS["check"](client)
        server.resume()
        await READS["check"](client)


@pytest.mark.server
async def test_a_burst_waits_for_connections_instead_of_failing(client: RedisClient) -> None:
    store = RedisSessionStore(client)
    opened = await store.open(SESSION, idle=IDLE, absolute=ABSOLUTE, cap=20)
    found = await asyncio.gather(*(store.find(ADA, SESSION.id) for _ in range(1000)))
    assert found == [opened.session] * 1000


@pytest.mark.parametrize("name", sorted(WRITES.keys() - {"succeeded", "forget_devices"}))
async def test_when_memory_is_full_nothing_is_added_and_every_session_can_be_ended(
    server: Valkey, name: str
) -> None:
    async with client_of(server.url) as client:
        store = RedisSessionStore(client)
        opened = await store.open(SESSION, idle=IDLE, absolute=ABSOLUTE, cap=20)
        await client.config_set("maxmemory", 1)
        with pytest.raises(Unavailable):
            await WRITES[name](client)
        assert await store.find(ADA, SESSION.id) == opened.session
        assert await store.end(ADA, SESSION.id)


@pytest.mark.parametrize("call", (WRITES | ENDS).values(), ids=WRITES | ENDS)
async def test_a_replica_and_a_primary_without_replicas_take_no_writes(
    server: Valkey, call: Call
) -> None:
    async with client_of(server.url) as client:
        await RedisSessionStore(client).open(SESSION, idle=IDLE, absolute=ABSOLUTE, cap=20)
        await client.config_set("min-replicas-to-write", 1)
        with pytest.raises(Unavailable):
            await call(client)
        await client.config_set("min-replicas-to-write", 0)
        await client.execute_command("REPLICAOF", "127.0.0.1", server.port)
        with pytest.raises(Unavailable):
            await call(client)


async def test_a_server_that_is_busy_with_a_script_is_unavailable(server: Valkey) -> None:
    async with client_of(server.url) as client:
        await client.config_set("busy-reply-threshold", 10)
        endless = asyncio.create_task(client.execute_command("EVAL", "while true do end", 0))

        async def is_unavailable() -> bool:
            try:
                await READS["find"](client)
            except Unavailable:
                return True
            return False

        await until(is_unavailable)
        await client.script_kill()
        with pytest.raises(exceptions.ResponseError):
            await endless
        await READS["find"](client)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("refused"),
        exceptions.TimeoutError("timed out"),
        exceptions.BusyLoadingError("loading the dataset in memory"),
        exceptions.AuthenticationError("invalid password"),
        exceptions.ClusterDownError("the cluster is down"),
        exceptions.TryAgainError("the slot is moving"),
        exceptions.MasterDownError("link with the primary is down"),
        exceptions.ResponseError("MISCONF cannot persist to disk"),
        TimeoutError(),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)
def test_a_server_that_cannot_serve_is_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable), unavailable_when_down():
        raise error


# --- memory and Redis decide alike --------------------------------------------------------------

PASSES = st.sampled_from([0, 1, 4, 10, 61, 600, 86_400, 6 * 86_400 + 1])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["log in", "refresh", "refresh", "refresh", "replay", "replay", "stray", "end", "list"]
        ),
        st.integers(0, 2),
        st.integers(1, 3),
        st.sampled_from([FIREFOX] * 9 + [CHROME]),
        PASSES,
    ),
    max_size=40,
)
ANY_WORLD = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)


@pytest.mark.server
@ANY_WORLD
@given(steps=STEPS)
async def test_memory_and_redis_agree_about_sessions(
    client: RedisClient, steps: list[tuple[str, int, int, str, int]]
) -> None:
    await client.flushdb()
    clock = ClockWithRedis(client)
    timed = TimedRedis(client, clock)
    stores: list[SessionStore] = [RedisSessionStore(timed), MemorySessionStore(clock)]
    histories: list[list[Session]] = []
    for step, which, back, agent, seconds in steps:
        await clock.pass_time(timedelta(seconds=seconds))
        history = histories[-1 - which] if which < len(histories) else None
        answers: list[object]
        if step == "log in" or history is None:
            new = a_session()
            opened = [
                await store.open(new, idle=IDLE, absolute=ABSOLUTE, cap=2) for store in stores
            ]
            histories.append([opened[0].session])
            answers = [*opened]
        elif step == "end":
            answers = [await store.end(ADA, history[0].id) for store in stores]
        elif step == "list":
            answers = [await store.of_user(ADA) for store in stores]
        else:
            shown = token_of(history[-1] if step == "refresh" else history[-back:][0])
            if step == "stray":
                shown = replace(shown, token_id=a_token_id(), issued_at=clock.now())
            successor = a_token_id()
            rotations = [
                await store.rotate(
                    shown,
                    successor=successor,
                    fingerprint=agent,
                    valid_from=A_MOMENT,
                    idle=IDLE,
                    grace=GRACE,
                    limit=Limit(3, 60),
                )
                for store in stores
            ]
            rotated = rotations[0].session
            if rotated is not None and rotated not in history:
                history.append(rotated)
            answers = [*rotations]
        assert answers[0] == answers[1], step
        listed = [await store.of_user(ADA) for store in stores]
        assert listed[0] == listed[1]


@pytest.mark.server
@ANY_WORLD
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["ada", "bob"]),
            st.sampled_from(["192.0.2.1", "2001:db8:0:1::1", "2001:db8:0:2::1"]),
            st.sampled_from(["a token", "another", None]),
            st.sampled_from(["fail", "fail", "fail", "succeed", "leave", "forget"]),
            PASSES,
        ),
        max_size=40,
    )
)
async def test_memory_and_redis_agree_about_log_in_attempts(
    client: RedisClient, steps: list[tuple[str, str, str | None, str, int]]
) -> None:
    await client.flushdb()
    clock = ClockWithRedis(client)
    users = {"ada": ADA, "bob": None}
    limits = ThrottleSettings(
        account=Limit(6, 60), address=Limit(9, 60), global_=Limit(12, 60), lock_after=3
    )
    throttles: list[LogInThrottle] = [
        RedisLogInThrottle(TimedRedis(client, clock), limits, NAME_KEY),
        MemoryLogInThrottle(limits, clock),
    ]
    for name, address, device, ending, seconds in steps:
        await clock.pass_time(timedelta(seconds=seconds))
        attempt = LogInAttempt(name=name, user_id=users[name], address=address, device=device)
        answers = [await _attempted(throttle, attempt, ending) for throttle in throttles]
        assert answers[0] == answers[1]


async def _attempted(
    throttle: LogInThrottle, attempt: LogInAttempt, ending: str
) -> Reservation | timedelta:
    try:
        reservation = await throttle.reserve(attempt)
    except Throttled as refusal:
        return refusal.retry_after
    if ending == "succeed":
        await throttle.succeeded(reservation, device=attempt.device)
    elif ending == "forget":
        await throttle.forget_devices(ADA, keep=attempt.device)
    elif ending == "fail":
        await throttle.failed(reservation)
    return reservation


# --- the connection that is kept ----------------------------------------------------------------


@pytest.mark.server
async def test_answers_over_the_kept_connection_come_in_their_order(client: RedisClient) -> None:
    commands: list[tuple[str, ...]] = [
        ("SET", "a", "1"),
        ("GET", "a"),
        ("EXISTS", "b"),
        ("HMGET", "h", "x", "y"),
    ]
    assert [await client.execute_held(*command) for command in commands] == [
        "OK",
        "1",
        0,
        [None, None],
    ]


@pytest.mark.server
async def test_an_error_over_the_kept_connection_leaves_no_answer_to_what_comes_next(
    client: RedisClient,
) -> None:
    await client.set("text", "no hash")
    with pytest.raises(exceptions.ResponseError, match="WRONGTYPE"):
        await client.execute_held("HGET", "text", "field")
    assert await client.execute_held("GET", "text") == "no hash"
    waiting = asyncio.create_task(client.execute_held("BLPOP", "nothing", "0.2"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await client.execute_held("GET", "text") == "no hash"


@pytest.mark.server
async def test_the_kept_connection_stays_the_same_until_the_server_closes_it(
    client: RedisClient,
) -> None:
    first = await client.execute_held("CLIENT", "ID")
    assert await client.execute_held("CLIENT", "ID") == first
    await client.execute_command("CLIENT", "KILL", "ID", first)
    second = await client.execute_held("CLIENT", "ID")
    assert second != first
    await client.release_held()
    assert await client.execute_held("CLIENT", "ID") not in {first, second}


async def test_a_question_over_the_kept_connection_survives_a_restart(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        async with client_of(server.url, patience=SECOND) as client:
            assert await client.execute_held("PING") == "PONG"
            await server.kill()
            with pytest.raises(Unavailable):
                await client.execute_held("PING")
            await server.start()
            assert await client.execute_held("PING") == "PONG"
            await server.kill()
            await server.start()
            assert await client.execute_held("PING") == "PONG"


async def test_a_server_that_hangs_keeps_a_question_over_the_kept_connection_no_longer_than_others(
    tmp_path: Path,
) -> None:
    with Valkey(tmp_path) as server:
        async with client_of(server.url, patience=IMPATIENT) as client:
            assert await client.execute_held("PING") == "PONG"
            server.pause()
            start = monotonic()
            with pytest.raises(Unavailable):
                await client.execute_held("PING")
            assert monotonic() - start < 1
            server.resume()
            assert await client.execute_held("ECHO", "next") == "next"


def test_a_connection_that_was_reset_is_replaced_on_the_event_loop_of_production(
    redis_url: str,
) -> None:
    """The event loop uvloop raises RuntimeError where asyncio drops what is written to a closed connection."""

    async def ask() -> None:
        client = redis_client(RedisSettings(url=redis_url))
        try:
            answer = await client.execute_held("PING")
            await _abort(client._held)

            assert await client.execute_held("PING") == answer

            connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # the driver's own gap
            await _abort(connection)
            with pytest.raises(Unavailable), unavailable_when_down():
                await connection.send_packed_command([b"PING"], check_health=False)
            await client.connection_pool.release(connection)
        finally:
            await client.release_held()
            await client.aclose()

    uvloop.run(ask())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_connections_that_were_reset_while_idle_fail_no_command(
    redis_url: str, run: Callable[[Any], None]
) -> None:
    async def ask() -> None:
        async with link_to(redis_url) as link:
            client = redis_client(RedisSettings(url=link.url(redis_url)))

            async def all_at_once() -> None:
                await asyncio.gather(*(client.execute("PING") for _ in range(8)))

            await all_at_once()
            link.reset()
            await asyncio.sleep(0.05)
            await all_at_once()
            await client.aclose()

    run(ask())


async def _abort(connection: Any) -> None:
    """End a connection as a reset does, and let the event loop close it."""
    connection._writer.transport.abort()
    await asyncio.sleep(0.01)
