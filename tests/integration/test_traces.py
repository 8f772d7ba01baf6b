"""Spans of what is asked of Redis and S3, within a request or a task that is recorded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from adapters.redis.access_versions import RedisAccessVersions
from adapters.redis.client import redis_client
from adapters.redis.seen_ciphertexts import RedisSeenCiphertexts
from adapters.redis.sessions import RedisSessionStore
from adapters.s3.client import S3Client
from adapters.s3.health import S3Probe
from adapters.s3.object_store import S3ObjectStore
from adapters.system import SystemClock
from application.settings import RedisSettings, S3Settings
from domain.identity import UserId
from domain.sessions import SessionId
from tests.support.builders import a_uuid
from tests.support.spans import Recorded


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def test_commands_and_scripts_are_spans_of_the_callers_who_wait_for_them(
    redis_url: str, opened: AsyncExitStack
) -> None:
    """Callers who share a round trip have a span each; outside of a recorded span there is none."""
    recorded = Recorded()
    redis = redis_client(RedisSettings(url=redis_url))
    opened.push_async_callback(redis.aclose)
    redis.span_of = recorded.traces.spans_of("redis")
    versions, sessions = RedisAccessVersions(redis), RedisSessionStore(redis)
    user_id, session_id = UserId(a_uuid()), SessionId(a_uuid())

    async def ask(name: str) -> None:
        with recorded.traces.span(name, "server"):
            await versions.fetch(user_id, session_id)

    await sessions.end(user_id, session_id)  # the server knows the script from now on
    await asyncio.gather(ask("one"), ask("other"))
    with recorded.traces.span("job", "consumer"):
        await RedisSeenCiphertexts(redis).first_use("secret", within=timedelta(seconds=1))
        await sessions.end(user_id, session_id)

    assert recorded.tree() == {
        "one": ["redis access_versions_fetch"],
        "other": ["redis access_versions_fetch"],
        "job": ["redis SET", "redis sessions_end"],
    }
    assert "secret" not in recorded.json()


async def test_calls_to_the_store_are_spans(
    s3_settings: S3Settings, opened: AsyncExitStack
) -> None:
    recorded = Recorded()
    client = S3Client(s3_settings)
    opened.push_async_callback(client.aclose)
    client.span_of = recorded.traces.spans_of("s3")
    store = S3ObjectStore(client, s3_settings, S3Probe(s3_settings, SystemClock()))

    with recorded.traces.span("job", "consumer"):
        assert await store.head("secret/of-nobody") is None

    assert recorded.tree() == {"job": ["s3 head_object"]}
    assert "secret" not in recorded.json()
