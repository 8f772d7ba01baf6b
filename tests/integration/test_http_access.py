"""What a guarded request costs the servers, and what happens to it when they are down."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from uuid import UUID

import httpx
import pytest

import bootstrap
from adapters.redis.client import RedisClient, redis_client
from application.ports.access_versions import DIRTY_TTL, Change
from application.settings import (
    Environment,
    MongoSettings,
    PostgresSettings,
    RedisSettings,
    S3Settings,
    Settings,
)
from bootstrap import Container
from domain.identity import Password
from domain.roles import RoleId
from entrypoints.http.app import create_app
from entrypoints.http.envelope import Envelope
from entrypoints.http.router import Router
from entrypoints.http.security import GuardedRoute, VerifyPermissionDep
from tests.support.access_changes import changing
from tests.support.builders import a_role, a_user
from tests.support.keys import key_settings
from tests.support.link import Link, link_to
from tests.support.redis_clock import ClockWithRedis
from tests.support.sessions import ABSOLUTE, IDLE, a_session
from tests.support.valkey import Valkey
from tests.support.world import LAPTOP

PERMISSION = "*:/fake/guarded"

router = Router(prefix="/fake")


@router.get("/guarded", dependencies=[GuardedRoute])
async def guarded(caller: VerifyPermissionDep) -> Envelope[str]:
    return Envelope(data=str(caller.user_id))


@router.post("/guarded", dependencies=[GuardedRoute])
async def send(body: list[int], caller: VerifyPermissionDep) -> Envelope[str]:
    return Envelope(data=f"{caller.user_id} sent {body}")


@dataclass(frozen=True, slots=True)
class Service:
    """The application over real stores, reached through links, and the headers of a user who may use one route."""

    container: Container
    client: httpx.AsyncClient
    bearer: Mapping[str, str]
    to_postgres: Link
    to_redis: Link
    redis: RedisClient
    role_id: RoleId

    async def get(self) -> int:
        return (await self.client.get("/fake/guarded", headers=self.bearer)).status_code


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """Return the address of a server of its own: its commands are counted."""
    with Valkey(tmp_path) as server:
        yield server.url


@pytest.fixture
async def service(
    postgres_url: str, redis_url: str, mongo_url: str, mongo_database: str, s3_settings: S3Settings
) -> AsyncIterator[Service]:
    """Return a service whose users are not dirty, and which has answered a request before."""
    async with AsyncExitStack() as stack:
        to_postgres = await stack.enter_async_context(link_to(postgres_url))
        to_redis = await stack.enter_async_context(link_to(redis_url))
        redis = redis_client(RedisSettings(url=redis_url))
        stack.push_async_callback(redis.aclose)
        container = bootstrap.build(
            Settings(
                environment=Environment.TESTING,
                postgres=PostgresSettings(url=to_postgres.url(postgres_url)),
                redis=RedisSettings(url=to_redis.url(redis_url)),
                mongo=MongoSettings(url=mongo_url, database=mongo_database),
                s3=s3_settings,
                keys=key_settings(),
            )
        )
        # Without its lifespan: the relay would ask PostgreSQL too.
        await stack.enter_async_context(bootstrap.running(container))
        app = create_app(container=container, routers=[router])
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://portico.test")
        )
        user, role = a_user(), a_role(PERMISSION)
        async with container.uow() as uow:
            await uow.users.add(user)
            await uow.roles.add(role)
            await uow.roles.assign(user.id, [role.id])
            await uow.commit()
        opened = await container.session_store().open(
            a_session(user_id=user.id), idle=IDLE, absolute=ABSOLUTE, cap=20
        )
        tokens = container.issue_tokens()(opened.session)
        bearer = {"Authorization": f"Bearer {tokens.access_token}"}
        service = Service(container, client, bearer, to_postgres, to_redis, redis, role.id)
        assert await service.get() == 200
        await ClockWithRedis(redis).pass_time(DIRTY_TTL)
        assert await service.get() == 200
        yield service


# --- what it costs ------------------------------------------------------------------------------


async def test_a_warm_request_costs_one_round_trip_to_redis_and_no_sql(service: Service) -> None:
    before = service.to_redis.questions, service.to_postgres.questions

    for _ in range(50):
        assert await service.get() == 200

    after = service.to_redis.questions, service.to_postgres.questions
    assert (after[0] - before[0], after[1] - before[1]) == (50, 0)


async def test_a_log_in_asks_redis_three_times_and_postgresql_four(service: Service) -> None:
    """An encrypted password adds one: whether it was sent before."""
    container, password = service.container, Password("violet otter lamp 7")
    ada = a_user(password_hash=await container.hasher().hash(password))
    async with container.uow() as uow:
        await uow.users.add(ada)
        await uow.commit()
    log_in = container.log_in()
    first = await log_in(ada.username.value, password, LAPTOP)
    before = service.to_redis.questions, service.to_postgres.questions

    await log_in(ada.username.value, password, LAPTOP, device=first.device_token)

    after = service.to_redis.questions, service.to_postgres.questions
    assert (after[0] - before[0], after[1] - before[1]) == (3, 4)


async def test_a_request_with_a_body_is_asked_once_who_calls(service: Service) -> None:
    """Before the body is read, and not again when its route asks."""
    before = service.to_redis.questions

    for _ in range(50):
        sent = await service.client.post("/fake/guarded", headers=service.bearer, json=[1])
        assert sent.status_code == 200

    # Again only where a body seems slow, which a busy machine can make of one or two.
    assert 50 <= service.to_redis.questions - before < 60


async def test_concurrent_requests_share_round_trips(service: Service) -> None:
    before = service.to_redis.questions

    statuses = await asyncio.gather(*(service.get() for _ in range(64)))

    assert set(statuses) == {200}
    assert service.to_redis.questions - before <= 8


async def test_the_server_counts_one_command_of_each_kind_for_a_warm_request(
    service: Service,
) -> None:
    async def calls() -> Counter[str]:
        stats = await service.redis.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): s["calls"] for name, s in stats.items()})

    before = await calls()
    for _ in range(20):
        assert await service.get() == 200
    made = await calls() - before - Counter({"info": 1})  # the one that asks for the counters

    # One script, and what it does within the server.
    assert made == {"evalsha": 20, "info": 20, "hmget": 20, "time": 20, "hget": 20}


async def test_a_change_of_a_role_costs_one_read_and_is_warm_again(service: Service) -> None:
    async with changing(
        service.container.uow, service.container.commit_access(), everyone=True
    ) as uow:
        (role,) = await uow.roles.lock([service.role_id])
        await uow.roles.save(replace(role, grants=frozenset()))
    before = service.to_postgres.questions
    assert await service.get() == 403
    read = service.to_postgres.questions
    assert await service.get() == 403

    assert read > before
    assert service.to_postgres.questions == read


# --- when something is down ---------------------------------------------------------------------


async def test_while_redis_is_down_no_caller_is_let_in(service: Service) -> None:
    await service.to_redis.close()

    response = await service.client.get("/fake/guarded", headers=service.bearer)

    assert (response.status_code, response.json()["error"]) == (503, "platform.unavailable")
    assert response.headers["retry-after"]


async def test_while_postgresql_is_down_those_who_are_remembered_go_on(service: Service) -> None:
    await service.to_postgres.close()

    assert await service.get() == 200
    assert (
        await service.client.get("/api/v1/roles/mine", headers=service.bearer)
    ).status_code == 503

    await service.container.access_versions().mark_dirty(Change(id=UUID(int=1), everyone=True))
    assert await service.get() == 503


@pytest.mark.parametrize("store", ["redis", "postgres"])
async def test_with_any_server_frozen_the_response_is_503_within_two_seconds(
    service: Service, store: str
) -> None:
    """However many ask at once, and with the default time-outs."""
    link = service.to_redis if store == "redis" else service.to_postgres
    # Everyone is dirty, so that every request needs both stores.
    await service.container.access_versions().mark_dirty(Change(id=UUID(int=1), everyone=True))

    async def timed(after: float) -> tuple[int, float]:
        await asyncio.sleep(after)
        began = monotonic()
        return await service.get(), monotonic() - began

    link.freeze()
    answers = await asyncio.gather(*(timed(number * 0.02) for number in range(60)))
    link.thaw()

    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < 2
