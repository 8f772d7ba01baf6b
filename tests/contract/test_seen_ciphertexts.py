"""What `SeenCiphertexts` promises, kept by memory and by Redis."""

import asyncio
from datetime import timedelta

import pytest

from adapters.memory.seen_ciphertexts import MemorySeenCiphertexts
from adapters.redis.seen_ciphertexts import RedisSeenCiphertexts
from application.ports.seen_ciphertexts import SeenCiphertexts
from tests.support.redis_clock import Backend

DIGEST, ANOTHER = "a" * 64, "b" * 64
WINDOW = timedelta(seconds=240)


@pytest.fixture
def seen(backend: Backend) -> SeenCiphertexts:
    return (
        RedisSeenCiphertexts(backend.redis)
        if backend.redis
        else MemorySeenCiphertexts(backend.clock)
    )


async def test_a_ciphertext_is_accepted_once(seen: SeenCiphertexts) -> None:
    assert await seen.first_use(DIGEST, within=WINDOW)
    assert not await seen.first_use(DIGEST, within=WINDOW)
    assert await seen.first_use(ANOTHER, within=WINDOW)


async def test_a_ciphertext_is_remembered_for_the_whole_window_and_no_longer(
    seen: SeenCiphertexts, backend: Backend
) -> None:
    await seen.first_use(DIGEST, within=WINDOW)
    await backend.clock.pass_time(WINDOW - timedelta(seconds=30))
    assert not await seen.first_use(DIGEST, within=WINDOW)
    await backend.clock.pass_time(timedelta(seconds=30))
    assert await seen.first_use(DIGEST, within=WINDOW)


async def test_of_many_copies_at_the_same_time_one_is_the_first(seen: SeenCiphertexts) -> None:
    answers = await asyncio.gather(*(seen.first_use(DIGEST, within=WINDOW) for _ in range(50)))
    assert answers.count(True) == 1
