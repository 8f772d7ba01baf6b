"""What `Documents` promises, kept by memory and by MongoDB, with and without a transaction."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

import pytest

from adapters.memory.documents import MemoryCollection, document_transaction
from adapters.mongo.client import mongo_client, transaction
from application.paging import MOST_COUNTED, PageRequest
from application.ports.documents import Documents, Order
from application.settings import MongoSettings
from domain.documents import DocumentExists, DocumentId, DocumentNotFound
from domain.errors import Unavailable
from tests.support.notes import Note, NoteFilter, memory_notes, mongo_notes

Notes: TypeAlias = Documents[Note, NoteFilter]
ALL = NoteFilter()
BY_IMPORTANCE = Order("importance")
MISSING = UUID(int=404)


@dataclass(frozen=True, slots=True)
class Store:
    """The repository outside of transactions, and how to get one inside."""

    notes: Notes
    transaction: Callable[[], AbstractAsyncContextManager[Notes]]

    async def all(self) -> list[Note]:
        return [*await self.notes.find(ALL, order=Order(), limit=MOST_COUNTED + 1)]


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.server)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        in_memory = memory_notes(MemoryCollection())

        @asynccontextmanager
        async def memory_transaction() -> AsyncIterator[Notes]:
            async with document_transaction() as session:
                yield in_memory.within(session)

        yield Store(in_memory, memory_transaction)
        return

    url = request.getfixturevalue("mongo_url")
    client = mongo_client(MongoSettings(url=url, timeout=timedelta(seconds=30)))
    in_mongo = mongo_notes(client, request.getfixturevalue("mongo_database"))

    @asynccontextmanager
    async def mongo_transaction() -> AsyncIterator[Notes]:
        async with transaction(client) as session:
            yield in_mongo.within(session)

    yield Store(in_mongo, mongo_transaction)
    client.close()


@pytest.fixture(params=["alone", "in a transaction"])
async def notes(request: pytest.FixtureRequest, store: Store) -> AsyncIterator[Notes]:
    """Return the repository, with and without a transaction that all of the test happens in."""
    if request.param == "alone":
        yield store.notes
        return
    async with store.transaction() as within:
        yield within


def a_note(number: int, **changes: object) -> Note:
    note = Note(id=UUID(int=number), owner="ada", text=f"note {number}", tags=[])
    for name, value in changes.items():
        setattr(note, name, value)
    return note


def ids(found: object) -> tuple[DocumentId, ...]:
    assert isinstance(found, DocumentExists | DocumentNotFound)
    return found.ids


# --- create and get -----------------------------------------------------------------------------


async def test_a_created_document_is_read_as_it_was(notes: Notes) -> None:
    note = a_note(1, owner='"кот"\0\n', tags=["a", "b"], importance=2**40)
    await notes.create(note)
    assert await notes.get(note.id) == note


async def test_an_absent_document_is_not_found(notes: Notes) -> None:
    with pytest.raises(DocumentNotFound) as refused:
        await notes.get(MISSING)
    assert ids(refused.value) == (MISSING,)


async def test_many_are_got_in_the_order_of_their_ids_without_those_that_do_not_exist(
    notes: Notes,
) -> None:
    one, two, three = created = [a_note(n) for n in (1, 2, 3)]
    await notes.create_many(created)
    assert list(await notes.get_many([three.id, MISSING, one.id])) == [three, one]
    assert list(await notes.get_many([two.id])) == [two]
    assert list(await notes.get_many([])) == []


async def test_documents_are_copied_in_and_out(notes: Notes) -> None:
    note = a_note(1, tags=["mine"])
    await notes.create(note)
    note.tags.append("changed")
    (await notes.get(note.id)).tags.append("changed too")
    assert (await notes.get(note.id)).tags == ["mine"]


async def test_creating_none_is_nothing(notes: Notes) -> None:
    await notes.create_many([])
    assert await notes.count(ALL) == 0


async def test_an_id_is_taken_once(store: Store) -> None:
    await store.notes.create(a_note(1))
    with pytest.raises(DocumentExists) as refused:
        await store.notes.create(a_note(1, text="another"))
    assert ids(refused.value) == (UUID(int=1),)
    assert await store.all() == [a_note(1)]


async def test_of_many_those_whose_ids_are_free_are_created(store: Store) -> None:
    await store.notes.create(a_note(2))
    with pytest.raises(DocumentExists) as refused:
        await store.notes.create_many(
            [a_note(1), a_note(2, text="x"), a_note(3), a_note(3, text="y")]
        )
    assert ids(refused.value) == (UUID(int=2), UUID(int=3))
    assert await store.all() == [a_note(1), a_note(2), a_note(3)]


async def test_of_many_who_create_the_same_one_succeeds(store: Store) -> None:
    attempts = [a_note(1, text=f"attempt {n}") for n in range(10)]
    outcomes = await asyncio.gather(
        *(store.notes.create(attempt) for attempt in attempts), return_exceptions=True
    )
    (created,) = (note for note, outcome in zip(attempts, outcomes, strict=True) if not outcome)
    assert await store.all() == [created]


# --- find, page and count -----------------------------------------------------------------------


async def test_the_filter_finds_and_counts(notes: Notes) -> None:
    await notes.create_many(
        [a_note(n, owner=owner, importance=n) for n, owner in enumerate(["ada", "bob", "ada"])]
    )

    async def found(which: NoteFilter) -> list[int]:
        listed = await notes.find(which, order=Order(), limit=10)
        assert await notes.count(which) == len(listed)
        return [note.importance for note in listed]

    assert await found(ALL) == [0, 1, 2]
    assert await found(NoteFilter(owner="ada")) == [0, 2]
    assert await found(NoteFilter(more_important_than=0)) == [1, 2]
    assert await found(NoteFilter(owner="ada", more_important_than=0)) == [2]
    assert await found(NoteFilter(owner="nobody")) == []


async def test_a_list_is_ordered_and_equal_ones_follow_by_id(notes: Notes) -> None:
    await notes.create_many([a_note(n, importance=n % 2) for n in (3, 1, 4, 2)])

    async def ordered(order: Order) -> list[int]:
        return [note.id.int for note in await notes.find(ALL, order=order, limit=10)]

    assert await ordered(Order()) == [1, 2, 3, 4]
    assert await ordered(Order(descending=True)) == [4, 3, 2, 1]
    assert await ordered(BY_IMPORTANCE) == [2, 4, 1, 3]
    assert await ordered(Order("importance", descending=True)) == [3, 1, 4, 2]


async def test_a_list_has_at_most_as_many_as_asked_for(notes: Notes) -> None:
    await notes.create_many([a_note(n) for n in range(1, 6)])
    found = await notes.find(ALL, order=Order(), limit=2)
    assert list(found) == [a_note(1), a_note(2)]


async def test_pages_give_everything_once_and_say_how_many_there_are(notes: Notes) -> None:
    created = [a_note(n, importance=n // 2) for n in range(1, 8)]
    await notes.create_many([*created, a_note(99, owner="bob")])
    pages = [
        await notes.page(NoteFilter(owner="ada"), PageRequest(number, 3), order=BY_IMPORTANCE)
        for number in (1, 2, 3, 4)
    ]
    assert [list(page.records) for page in pages] == [created[:3], created[3:6], created[6:], []]
    assert {page.total for page in pages} == {7}


async def test_a_page_counts_no_further_than_needed_and_count_counts_all(store: Store) -> None:
    await store.notes.create_many([a_note(n) for n in range(MOST_COUNTED + 1)])
    page = await store.notes.page(ALL, PageRequest(1, 1), order=Order())
    assert page.total == MOST_COUNTED
    assert await store.notes.count(ALL) == MOST_COUNTED + 1


# --- update -------------------------------------------------------------------------------------


async def test_an_update_replaces_what_is_stored(notes: Notes) -> None:
    await notes.create_many([a_note(1, tags=["a"]), a_note(2)])
    changed = a_note(1, text="changed", tags=["b"])
    await notes.update(changed)
    await notes.update(changed)
    assert list(await notes.get_many([UUID(int=1), UUID(int=2)])) == [changed, a_note(2)]


async def test_an_absent_document_is_not_updated(notes: Notes) -> None:
    with pytest.raises(DocumentNotFound):
        await notes.update(a_note(1))
    assert await notes.count(ALL) == 0


async def test_of_many_updates_those_that_can_be_made_are_made(store: Store) -> None:
    await store.notes.create_many([a_note(1), a_note(3)])
    changed = [a_note(n, text="changed") for n in (1, 2, 3)]
    with pytest.raises(DocumentNotFound) as refused:
        await store.notes.update_many(changed)
    assert ids(refused.value) == (UUID(int=2),)
    assert await store.all() == [changed[0], changed[2]]


async def test_updating_none_is_nothing_and_the_last_of_two_updates_counts(notes: Notes) -> None:
    await notes.create(a_note(1))
    await notes.update_many([])
    await notes.update_many([a_note(1, text="first"), a_note(1, text="last")])
    assert (await notes.get(UUID(int=1))).text == "last"


# --- delete -------------------------------------------------------------------------------------


async def test_a_deleted_document_is_gone(notes: Notes) -> None:
    await notes.create_many([a_note(1), a_note(2)])
    await notes.delete(UUID(int=1))
    with pytest.raises(DocumentNotFound):
        await notes.delete(UUID(int=1))
    assert list(await notes.find(ALL, order=Order(), limit=10)) == [a_note(2)]


async def test_of_many_those_that_exist_are_deleted_and_counted(notes: Notes) -> None:
    await notes.create_many([a_note(1), a_note(2), a_note(3)])
    assert await notes.delete_many([UUID(int=1), MISSING, UUID(int=3), UUID(int=3)]) == 2
    assert await notes.delete_many([UUID(int=1)]) == 0
    assert await notes.delete_many([]) == 0
    assert list(await notes.find(ALL, order=Order(), limit=10)) == [a_note(2)]


async def test_the_id_of_a_deleted_one_is_free(notes: Notes) -> None:
    await notes.create(a_note(1))
    await notes.delete(UUID(int=1))
    await notes.create(a_note(1, text="again"))
    assert (await notes.get(UUID(int=1))).text == "again"


# --- transactions -------------------------------------------------------------------------------


async def test_a_transaction_is_invisible_to_others_before_its_end(store: Store) -> None:
    await store.notes.create_many([a_note(1), a_note(2)])
    async with store.transaction() as notes:
        await notes.create(a_note(3))
        await notes.update(a_note(1, text="changed"))
        await notes.delete(UUID(int=2))
        assert await store.all() == [a_note(1), a_note(2)]
        assert await notes.count(ALL) == 2
    assert await store.all() == [a_note(1, text="changed"), a_note(3)]


async def test_an_error_that_leaves_a_transaction_undoes_all_of_it(store: Store) -> None:
    async def change() -> None:
        async with store.transaction() as notes:
            await notes.create(a_note(3))
            await notes.delete(UUID(int=2))
            await notes.update_many([a_note(1, text="changed"), a_note(4)])

    await store.notes.create_many([a_note(1), a_note(2)])
    with pytest.raises(DocumentNotFound):
        await change()
    assert await store.all() == [a_note(1), a_note(2)]


async def test_a_conflict_in_a_transaction_undoes_all_of_it(store: Store) -> None:
    async def change() -> None:
        async with store.transaction() as notes:
            await notes.create_many([a_note(2), a_note(1)])

    await store.notes.create(a_note(1))
    with pytest.raises(DocumentExists):
        await change()
    assert await store.all() == [a_note(1)]


async def test_a_transaction_that_met_a_conflict_cannot_go_on(store: Store) -> None:
    async def change(*, further: bool) -> None:
        async with store.transaction() as notes:
            await notes.create(a_note(2))
            with pytest.raises(DocumentExists):
                await notes.create(a_note(1))
            if further:
                await notes.create(a_note(3))

    await store.notes.create(a_note(1))
    for further in (True, False):
        with pytest.raises(Unavailable):
            await change(further=further)
    assert await store.all() == [a_note(1)]


async def test_of_two_transactions_that_change_the_same_document_one_is_undone(
    store: Store,
) -> None:
    """A transaction that is refused starts again, and then sees the changes of the other one."""
    await store.notes.create_many([a_note(1), a_note(2)])
    both_have_read = asyncio.Barrier(2)

    async def change(own: int, text: str) -> None:
        async with store.transaction() as notes:
            shared = await notes.get(UUID(int=1))
            await both_have_read.wait()
            await notes.create(a_note(own, text=text))
            await notes.update(replace(shared, text=text))

    outcomes = await asyncio.gather(change(11, "one"), change(12, "other"), return_exceptions=True)

    refused = [outcome for outcome in outcomes if outcome]
    assert [type(outcome) for outcome in refused] == [Unavailable]
    own, text = (12, "other") if outcomes[0] else (11, "one")
    assert await store.all() == [a_note(1, text=text), a_note(2), a_note(own, text=text)]


async def test_transactions_that_change_different_documents_do_not_mind_each_other(
    store: Store,
) -> None:
    await store.notes.create_many([a_note(1), a_note(2)])
    async with store.transaction() as first, store.transaction() as second:
        await first.update(a_note(1, text="first"))
        await second.update(a_note(2, text="second"))
    assert [note.text for note in await store.all()] == ["first", "second"]
