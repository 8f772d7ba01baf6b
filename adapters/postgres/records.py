"""What most repositories do with most tables, so that a new one is its mapping and what is peculiar to it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Row,
    Select,
    Table,
    any_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from adapters.postgres.transaction import Transaction
from application.paging import MOST_COUNTED, Page, PageRequest
from domain.errors import PorticoError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OrderBy:
    """Columns in one direction, as an index is read from one end or the other; together they are unique."""

    columns: Sequence[Column[Any]]
    descending: bool = False

    def within(self, source: FromClause) -> Sequence[ColumnElement[Any]]:
        """Return what to order by where the columns come from `source`, a table or a part of it."""
        columns = [source.c[column.name] for column in self.columns]
        return [column.desc() for column in columns] if self.descending else columns


class Records(Generic[T]):
    """The rows of a table with an `id`, as objects of the domain, seen through one transaction.

    A repository has one and asks it; it does not inherit from it. Conditions are SQLAlchemy's, and all of
    them have to hold. Rows have the columns of the table, unless others are given.
    """

    def __init__(
        self,
        transaction: Transaction,
        table: Table,
        *,
        to_row: Callable[[T], dict[str, Any]],
        of_row: Callable[[Row[Any]], T],
        columns: Sequence[ColumnElement[Any]] = (),
    ) -> None:
        self._transaction = transaction
        self._table = table
        self._to_row = to_row
        self._of_row = of_row
        self._columns = columns or table.c

    async def find(self, *conditions: ColumnElement[bool]) -> T | None:
        """Return the one record that there is, or None."""
        row = (await self._transaction.read(self._select(conditions))).one_or_none()
        return None if row is None else self._of_row(row)

    async def all(self, *conditions: ColumnElement[bool], order_by: OrderBy) -> Sequence[T]:
        """Return every record in order."""
        return await self.select(self._select(conditions).order_by(*order_by.within(self._table)))

    async def select(self, statement: Select[Any]) -> Sequence[T]:
        """Return the records that a statement of one's own selects; it has all columns of the table."""
        return [self._of_row(row) for row in await self._transaction.read(statement)]

    async def lock(self, *conditions: ColumnElement[bool], references: bool = True) -> Sequence[T]:
        """Return every record, which nobody else can lock, change or remove until the transaction ends.

        Without `references`, nobody can make a row that refers to one of them either.
        """
        rows = await self._transaction.write(
            # Whoever locks several does so in the same order: two never wait for each other.
            self._select(conditions)
            .order_by(self._table.c.id)
            .with_for_update(key_share=references)
        )
        return [self._of_row(row) for row in rows]

    async def some(
        self,
        page: PageRequest,
        *conditions: ColumnElement[bool],
        order_by: OrderBy,
    ) -> Sequence[T]:
        """Return the records of one page. `order_by` must be unique, or pages overlap."""
        statement = self._select(conditions).order_by(*order_by.within(self._table))
        return await self.select(statement.limit(page.size).offset(page.offset))

    async def count(self, *conditions: ColumnElement[bool], most: int = MOST_COUNTED) -> int:
        """Return how many records there are, but no more than `most`: there counting stops."""
        found = select(true()).select_from(self._table).where(*conditions).limit(most)
        counted = await self._transaction.read(select(func.count()).select_from(found.subquery()))
        return int(counted.scalar_one())

    async def page(
        self,
        page: PageRequest,
        *conditions: ColumnElement[bool],
        order_by: OrderBy,
    ) -> Page[T]:
        """Return one page; in one statement if it is the last one, else in two."""
        records = await self.some(page, *conditions, order_by=order_by)
        if len(records) == page.size or (page.offset and not records):
            return Page(records, await self.count(*conditions))
        return Page(records, min(page.offset + len(records), MOST_COUNTED))

    async def add(self, *records: T, conflicts: Mapping[str, PorticoError] | None = None) -> None:
        """Store new records, all in one statement; raise the error in `conflicts` of a constraint that breaks."""
        if records:
            rows = [self._to_row(record) for record in records]
            await self._transaction.write(insert(self._table), rows, conflicts=conflicts)

    async def save(self, record: T, *, conflicts: Mapping[str, PorticoError] | None = None) -> bool:
        """Store every field of a record; return False if it is not there."""
        row = self._to_row(record)
        statement = update(self._table).where(self._table.c.id == row["id"]).values(row)
        return (await self._transaction.write(statement, conflicts=conflicts)).rowcount == 1

    async def delete(self, *conditions: ColumnElement[bool]) -> int:
        """Remove every record; return how many."""
        result = await self._transaction.write(delete(self._table).where(*conditions))
        return result.rowcount

    def _select(self, conditions: tuple[ColumnElement[bool], ...]) -> Select[Any]:
        return select(*self._columns).select_from(self._table).where(*conditions)


def among(column: ColumnElement[T], values: Collection[T]) -> ColumnElement[bool]:
    """Return the condition that a column has one of the values; unlike IN, one statement for any number."""
    return column == any_(literal(list(values), ARRAY(column.type)))


def contains(columns: Collection[ColumnElement[str]], text: str) -> ColumnElement[bool]:
    """Return the condition that one of the columns has `text` in it, whatever characters these are."""
    return or_(*(func.strpos(column, text) > 0 for column in columns))
