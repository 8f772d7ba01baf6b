"""What `Sequences` promises, kept by memory and by MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from adapters.memory.sequences import MemorySequences
from adapters.mongo.client import mongo_client
from adapters.mongo.sequences import MongoSequences
from application.ports.sequences import Sequences
from application.settings import MongoSettings
from domain.errors import PreconditionFailed
from domain.sequences import (
    HIGHEST,
    SequenceExhausted,
    SequenceKey,
    SequenceName,
    SequenceState,
)


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.server)])
async def sequences(request: pytest.FixtureRequest) -> AsyncIterator[Sequences]:
    if request.param == "memory":
        yield MemorySequences()
        return
    mongo = MongoSettings(
        url=request.getfixturevalue("mongo_url"),
        database=request.getfixturevalue("mongo_database"),
        timeout=timedelta(seconds=30),
    )
    client = mongo_client(mongo)
    yield MongoSequences(client, mongo)
    client.close()


def orders(**conditions: str) -> SequenceKey:
    return SequenceKey(SequenceName("orders"), conditions)


async def test_numbers_begin_at_one_and_go_on(sequences: Sequences) -> None:
    taken = [[*await sequences.next(orders())] for _ in range(3)]

    assert taken == [[1], [2], [3]]


async def test_every_combination_of_conditions_has_numbers_of_its_own(sequences: Sequences) -> None:
    await sequences.next(orders(shop="1"), count=3)

    assert [*await sequences.next(orders())] == [1]
    assert [*await sequences.next(orders(shop="2"))] == [1]
    assert [*await sequences.next(orders(shop="1", till="2"))] == [1]
    assert [*await sequences.next(SequenceKey(SequenceName("invoices"), {"shop": "1"}))] == [1]
    assert [*await sequences.next(orders(shop="1"))] == [4]


async def test_the_order_of_conditions_does_not_matter(sequences: Sequences) -> None:
    await sequences.next(orders(shop="1", till="2"))

    assert [*await sequences.next(orders(till="2", shop="1"))] == [2]


async def test_no_number_is_given_out_twice_and_none_is_left_out(sequences: Sequences) -> None:
    """A hundred callers at once, of a sequence that does not exist yet."""

    async def caller() -> list[int]:
        return [number for _ in range(2) for number in await sequences.next(orders(), count=50)]

    taken = [
        number for one in await asyncio.gather(*(caller() for _ in range(100))) for number in one
    ]

    assert sorted(taken) == [*range(1, 10_001)]


async def test_a_range_is_consecutive(sequences: Sequences) -> None:
    await sequences.next(orders())

    assert await sequences.next(orders(), count=1000) == range(2, 1002)


async def test_looking_takes_no_number(sequences: Sequences) -> None:
    assert await sequences.find(orders()) is None
    await sequences.next(orders(), count=7)

    assert await sequences.find(orders()) == SequenceState(orders(), 7)
    assert await sequences.next(orders()) == range(8, 9)


async def test_the_highest_number_is_the_last_one(sequences: Sequences) -> None:
    await sequences.reset(orders(), HIGHEST - 2, expected=0)

    with pytest.raises(SequenceExhausted):
        await sequences.next(orders(), count=3)
    assert await sequences.next(orders(), count=2) == range(HIGHEST - 1, HIGHEST + 1)
    with pytest.raises(SequenceExhausted):
        await sequences.next(orders())


async def test_a_reset_sequence_goes_on_after_its_new_value(sequences: Sequences) -> None:
    await sequences.next(orders(), count=5)

    await sequences.reset(orders(), 1000, expected=5)

    assert await sequences.next(orders()) == range(1001, 1002)


async def test_a_sequence_is_reset_only_from_the_value_that_was_seen(sequences: Sequences) -> None:
    await sequences.next(orders(), count=5)

    for seen in (0, 4, 6):
        with pytest.raises(PreconditionFailed):
            await sequences.reset(orders(), 0, expected=seen)
    with pytest.raises(PreconditionFailed):
        await sequences.reset(orders(shop="of nobody"), 7, expected=1)

    assert await sequences.next(orders()) == range(6, 7)


async def test_of_many_who_reset_one_succeeds(sequences: Sequences) -> None:
    results = await asyncio.gather(
        *(sequences.reset(orders(), value, expected=0) for value in range(1, 9)),
        return_exceptions=True,
    )

    assert len([result for result in results if result is None]) == 1


async def test_a_deleted_sequence_begins_at_one(sequences: Sequences) -> None:
    await sequences.next(orders(), count=5)

    with pytest.raises(PreconditionFailed):
        await sequences.delete(orders(), expected=4)
    await sequences.delete(orders(), expected=5)

    assert await sequences.find(orders()) is None
    with pytest.raises(PreconditionFailed):
        await sequences.delete(orders(), expected=5)
    assert await sequences.next(orders()) == range(1, 2)


@pytest.mark.server
async def test_a_sequence_is_found_by_its_index(mongo_url: str, mongo_database: str) -> None:
    mongo = MongoSettings(url=mongo_url, database=mongo_database, timeout=timedelta(seconds=30))
    client = mongo_client(mongo)
    sequences = MongoSequences(client, mongo)
    for shop in range(20):
        await sequences.next(orders(shop=str(shop)))

    plan = await client[mongo_database]["sequences"].find({"_id": orders(shop="7").text}).explain()

    assert plan["executionStats"]["nReturned"] == 1
    assert plan["executionStats"]["totalDocsExamined"] == 1
    client.close()
