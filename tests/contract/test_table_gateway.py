"""What `TableGateway` promises to a repository that is made of it, shown with one of thirty lines."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    MetaData,
    Row,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    insert,
)
from sqlalchemy.exc import IntegrityError

from adapters.postgres.engine import connect, postgres_engine
from adapters.postgres.table_gateway import OrderBy, TableGateway, any_of, contains
from adapters.postgres.transaction import Transaction
from application.paging import MOST_COUNTED, Page, PageRequest
from application.settings import PostgresSettings
from domain.errors import Conflict, PorticoError
from tests.support.waiting import waits

pytestmark = pytest.mark.server

ALL = PageRequest(size=100)

_metadata = MetaData()
notes = Table(
    "notes",
    _metadata,
    Column("id", Uuid, primary_key=True),
    Column("title", Text(collation="C"), nullable=False),
    UniqueConstraint("title", name="uq_notes_title"),
)
comments = Table("comments", _metadata, Column("note_id", Uuid, ForeignKey(notes.c.id)))
BY_TITLE = OrderBy((notes.c.title,))


@dataclass(slots=True)
class Note:
    id: UUID
    title: str


class TitleTaken(Conflict):
    code = "notes.title_taken"


class NoteRepository:
    """What remains to be written for a new table."""

    def __init__(self, transaction: Transaction) -> None:
        self._gateway = TableGateway(transaction, notes, to_row=to_row, of_row=to_note)

    async def add(self, *new: Note) -> None:
        """Store new notes, all of them or none; raise `TitleTaken`."""
        await self._gateway.add(*new, conflicts=CONFLICTS)

    async def save(self, note: Note) -> bool:
        """Return whether it is there; raise `TitleTaken`."""
        return await self._gateway.save(note, conflicts=CONFLICTS)

    async def page(self, keyword: str, page: PageRequest) -> Page[Note]:
        """Return one page, ordered by title."""
        found = contains([notes.c.title], keyword)
        return await self._gateway.page(page, found, order_by=BY_TITLE)


CONFLICTS: dict[str, PorticoError] = {"uq_notes_title": TitleTaken("There is one already")}


def to_row(note: Note) -> dict[str, Any]:
    return {"id": note.id, "title": note.title}


def to_note(row: Row[Any]) -> Note:
    return Note(id=row.id, title=row.title)


Begin = Callable[[], AbstractAsyncContextManager[Transaction]]


@pytest.fixture
async def begin(postgres_url: str) -> AsyncIterator[Begin]:
    """Return what begins transactions in a database that has the table."""
    engine = postgres_engine(PostgresSettings(url=postgres_url, timeout=timedelta(seconds=10)))
    async with aclosing(await connect(engine)) as connection:
        await connection.run_sync(_metadata.create_all)

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Transaction]:
        async with aclosing(await connect(engine)) as connection:
            yield Transaction(connection)

    yield transaction
    async with aclosing(await connect(engine)) as connection:
        await connection.run_sync(_metadata.drop_all)
    await engine.dispose()


def note(number: int, title: str | None = None) -> Note:
    return Note(UUID(int=number), title or f"{number:04}")


async def given(begin: Begin, *there: Note) -> None:
    async with begin() as transaction:
        await NoteRepository(transaction).add(*there)
        await transaction.commit()


def records(transaction: Transaction) -> TableGateway[Note]:
    return TableGateway(transaction, notes, to_row=to_row, of_row=to_note)


async def everything(begin: Begin) -> list[Note]:
    async with begin() as transaction:
        return list(await records(transaction).all(order_by=BY_TITLE))


# --- reading ---


async def test_one_record_is_found_or_none(begin: Begin) -> None:
    await given(begin, note(1, "first"), note(2, "second"))

    async with begin() as transaction:
        found = records(transaction)
        assert await found.find(notes.c.id == UUID(int=2)) == note(2, "second")
        assert await found.find(notes.c.title == "first") == note(1, "first")
        assert await found.find(notes.c.title == "first", notes.c.id == UUID(int=2)) is None


async def test_all_records_of_a_condition_come_in_order(begin: Begin) -> None:
    await given(begin, note(3), note(1), note(2), note(4))

    async with begin() as transaction:
        found = await records(transaction).all(notes.c.title < "0004", order_by=BY_TITLE)
    assert found == [note(1), note(2), note(3)]


async def test_a_column_may_have_one_of_any_number_of_values(begin: Begin) -> None:
    await given(begin, *(note(number) for number in range(1, 6)))

    async with begin() as transaction:
        for wanted in ([], [2], [4, 2], [2, 4, 4, 9], range(1, 1000)):
            condition = any_of(notes.c.id, [UUID(int=number) for number in wanted])
            found = await records(transaction).all(condition, order_by=BY_TITLE)
            assert found == [note(number) for number in range(1, 6) if number in wanted]


@pytest.mark.parametrize("text", ["%", "_", "\\", "'", "100%", "王", " ", "{}", "$1", ":title"])
async def test_a_text_of_any_characters_is_found_in_a_column(begin: Begin, text: str) -> None:
    there = note(1, f"before{text}after")
    await given(begin, there, note(2, "beforeafter"), note(3, "before.after"))

    async with begin() as transaction:
        assert await records(transaction).find(contains([notes.c.title], text)) == there
        both = contains([notes.c.title, notes.c.title], f"e{text}a")
        assert await records(transaction).find(both) == there


# --- pages ---


async def test_a_page_says_how_many_there_are_in_all(begin: Begin) -> None:
    await given(begin, *(note(number) for number in range(1, 8)), note(8, "other"))

    async with begin() as transaction:
        page = partial(NoteRepository(transaction).page, "00")
        for number, expected in ((1, [1, 2, 3]), (2, [4, 5, 6]), (3, [7]), (4, []), (10**9, [])):
            assert await page(PageRequest(number=number, size=3)) == Page(
                [note(number) for number in expected], total=7
            )
        assert (await page(PageRequest(size=7))).total == 7
        assert (await page(PageRequest(size=8))).total == 7
        assert await NoteRepository(transaction).page("none", ALL) == Page([], total=0)


async def test_counting_stops_where_it_gets_expensive(begin: Begin) -> None:
    await given(begin, *(note(number) for number in range(1, MOST_COUNTED + 6)))

    async with begin() as transaction:
        found, repository = records(transaction), NoteRepository(transaction)
        assert await found.count(limit=3) == 3
        assert await found.count(notes.c.title < "0003", limit=3) == 2
        assert await found.count() == MOST_COUNTED
        assert (await repository.page("", PageRequest(size=100))).total == MOST_COUNTED
        last = PageRequest(number=MOST_COUNTED // 10 + 1, size=10)
        assert await repository.page("", last) == Page(
            [note(MOST_COUNTED + number) for number in range(1, 6)], total=MOST_COUNTED
        )


# --- writing ---


async def test_many_records_are_added_all_or_none(begin: Begin) -> None:
    await given(begin, note(1))
    async with begin() as transaction:
        repository = NoteRepository(transaction)
        await repository.add()
        await repository.add(note(2), note(3))
        with pytest.raises(TitleTaken):
            await repository.add(note(4), note(5, "0001"), note(6))
        with pytest.raises(TitleTaken):
            await transaction.commit()

    assert await everything(begin) == [note(1)]


async def test_saving_replaces_a_record_and_tells_whether_it_was_there(begin: Begin) -> None:
    await given(begin, note(1), note(2))
    async with begin() as transaction:
        repository = NoteRepository(transaction)
        assert await repository.save(note(1, "changed")) is True
        assert await repository.save(note(3)) is False
        await transaction.commit()

    assert await everything(begin) == [note(2), note(1, "changed")]

    async with begin() as transaction:
        with pytest.raises(TitleTaken):
            await NoteRepository(transaction).save(note(1, "0002"))


async def test_deleting_tells_how_many_there_were(begin: Begin) -> None:
    await given(begin, note(1), note(2), note(3))
    async with begin() as transaction:
        assert await records(transaction).delete(notes.c.title > "0001") == 2
        assert await records(transaction).delete(notes.c.title > "0001") == 0
        await transaction.commit()

    assert await everything(begin) == [note(1)]


async def test_an_unknown_conflict_is_raised_as_it_is(begin: Begin) -> None:
    await given(begin, note(1))
    async with begin() as transaction:
        with pytest.raises(IntegrityError, match="notes_pkey"):
            await NoteRepository(transaction).add(note(1, "other"))


# --- locks ---


async def test_a_locked_record_is_not_changed_by_others(begin: Begin) -> None:
    await given(begin, note(1), note(2))

    async def save(changed: Note) -> None:
        async with begin() as transaction:
            await records(transaction).save(changed)
            await transaction.commit()

    async with begin() as transaction:
        assert await records(transaction).lock(notes.c.id == UUID(int=1)) == [note(1)]
        assert await records(transaction).lock(notes.c.id == UUID(int=9)) == []
        await save(note(2, "free"))
        saving = asyncio.create_task(save(note(1, "locked")))
        assert await waits(saving)
    await saving

    assert await everything(begin) == [note(2, "free"), note(1, "locked")]


@pytest.mark.parametrize("references", [True, False])
async def test_a_lock_may_forbid_references_too(begin: Begin, *, references: bool) -> None:
    await given(begin, note(1))

    async def comment() -> None:
        async with begin() as transaction:
            await transaction.write(insert(comments).values(note_id=UUID(int=1)))
            await transaction.commit()

    async with begin() as transaction:
        await records(transaction).lock(references=references)
        commenting = asyncio.create_task(comment())
        if references:
            await asyncio.wait_for(commenting, 10)
        else:
            assert await waits(commenting)
    await commenting
