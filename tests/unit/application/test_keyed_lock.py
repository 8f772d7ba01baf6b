"""Changes that share a key wait for each other, and for no other."""

import asyncio

import pytest

from application.keyed_lock import KeyedLock
from domain.errors import Unavailable


async def test_blocks_of_a_key_run_one_after_the_other_and_those_of_others_meanwhile() -> None:
    locked, said = KeyedLock(), list[str]()

    async def block(key: str) -> None:
        async with locked(key):
            said.append(f"{key} begins")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            said.append(f"{key} ends")

    await asyncio.gather(block("a"), block("a"), block("b"))

    assert said == ["a begins", "b begins", "a ends", "b ends", "a begins", "a ends"]


async def test_a_block_that_waits_too_long_is_refused_and_one_that_fails_lets_the_next_run() -> (
    None
):
    locked = KeyedLock(longest=0.001)

    async def fail() -> None:
        async with locked("a"):
            with pytest.raises(Unavailable):
                await locked("a").__aenter__()
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await fail()


async def test_a_server_that_is_away_for_one_is_away_for_all_that_wait_and_not_for_later_ones() -> (
    None
):
    locked, tried = KeyedLock(), list[int]()

    async def block(number: int) -> None:
        async with locked("a"):
            tried.append(number)
            await asyncio.sleep(0)
            raise Unavailable("PostgreSQL")

    results = await asyncio.gather(*(block(number) for number in range(3)), return_exceptions=True)

    assert [str(result) for result in results] == ["PostgreSQL is not available right now"] * 3
    assert tried == [0]
    with pytest.raises(Unavailable):
        await block(3)
    assert tried == [0, 3]
