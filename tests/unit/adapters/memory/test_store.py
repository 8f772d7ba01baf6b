"""The store in memory, beyond what it shares with PostgreSQL."""

from dataclasses import dataclass

import pytest

from adapters.memory.store import MemoryStore, MemoryTransaction, page_of
from adapters.memory.unit_of_work import MemoryUnitOfWork
from application.paging import MOST_COUNTED, Page, PageRequest
from domain.roles import RoleNotFound
from tests.support.builders import a_role, a_user


def test_counting_stops_where_a_server_would_stop() -> None:
    there = range(MOST_COUNTED + 5)

    assert page_of(there, PageRequest(size=3)) == Page(range(3), MOST_COUNTED)
    assert page_of(there[:-6], PageRequest(size=3)) == Page(range(3), MOST_COUNTED - 1)
    assert list(page_of(there, PageRequest(number=MOST_COUNTED + 1, size=1)).records) == [
        MOST_COUNTED
    ]


async def test_a_role_that_is_deleted_before_the_commit_is_not_given() -> None:
    store, user, role = MemoryStore(), a_user(), a_role()
    async with MemoryUnitOfWork(store) as work:
        await work.users.add(user)
        await work.roles.add(role)
        await work.commit()

    async with MemoryUnitOfWork(store) as giving, MemoryUnitOfWork(store) as deleting:
        await giving.roles.assign(user.id, [role.id])
        await deleting.roles.lock([role.id])
        await deleting.roles.delete([role.id])
        await deleting.commit()

        with pytest.raises(RoleNotFound):
            await giving.commit()

    async with MemoryUnitOfWork(store) as work:
        assert await work.roles.of_users([user.id]) == {}


@dataclass(frozen=True, slots=True)
class Author:
    name: str


@dataclass(frozen=True, slots=True)
class Biography:
    text: str


@dataclass(frozen=True, slots=True)
class Book:
    author: str


def test_a_removed_row_takes_along_what_it_owns_as_declared() -> None:
    store = MemoryStore()
    transaction = MemoryTransaction(store)
    biographies = transaction.table(Biography, cascade=Author)
    books = transaction.table(Book, cascade=Author, owner=lambda book: book.author)
    authors = transaction.table(Author)
    for name in ("ada", "bob"):
        authors.write(name, Author(name))
        biographies.write(name, Biography(f"{name} lived"))
    books.write(1, Book("ada"))
    books.write(2, Book("bob"))
    transaction.commit()

    books.write(3, Book("ada"))
    authors.remove("ada")

    assert books.where() == [Book("bob")]
    assert biographies.find("ada") is None
    assert set(store.rows(Book)) == {1, 2}, "others see it after the commit"
    transaction.commit()
    assert store.rows(Author) == {"bob": Author("bob")}
    assert store.rows(Book) == {2: Book("bob")}
    assert store.rows(Biography) == {"bob": Biography("bob lived")}
