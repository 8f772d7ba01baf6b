"""A table data gateway: the queries that most repositories need, so that a new one adds its mapping and little else."""

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
    """A list of columns, unique together, in one direction: an index can be read from either end."""

    columns: Sequence[Column[Any]]
    descending: bool = False

    def within(self, source: FromClause) -> Sequence[ColumnElement[Any]]:
        """Return the terms of ORDER BY for the same columns of `source`, a table or a subquery."""
        columns = [source.c[column.name] for column in self.columns]
        return [column.desc() for column in columns] if self.descending else columns


class TableGateway(Generic[T]):
    """Reads and writes the rows of a table with an `id`, as objects of the domain, in one transaction.

    A repository owns one; it does not inherit from it. Conditions are SQLAlchemy's and are joined with AND.
    Queries select the columns of the table, unless others are given.
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
        self.of_row = of_row
        self._columns = columns or table.c

    async def find(self, *conditions: ColumnElement[bool]) -> T | None:
        """Return the one matching record, or None."""
        row = (await self._transaction.read(self._select(conditions))).one_or_none()
        return None if row is None else self.of_row(row)

    async def all(self, *conditions: ColumnElement[bool], order_by: OrderBy) -> Sequence[T]:
        """Return every matching record in order."""
        return await self.select(self._select(conditions).order_by(*order_by.within(self._table)))

    async def select(self, statement: Select[Any]) -> Sequence[T]:
        """Return the records that `statement` selects; it must select all columns of the table."""
        return [self.of_row(row) for row in await self._transaction.read(statement)]

    async def lock(self, *conditions: ColumnElement[bool], references: bool = True) -> Sequence[T]:
        """Lock every matching record until the transaction ends, and return them.

        Other transactions cannot lock, change or delete them. Without `references`, they cannot insert a row that
        references one of them either.
        """
        rows = await self._transaction.write(
            # One order for everybody: two transactions that lock several rows never deadlock.
            self._select(conditions)
            .order_by(self._table.c.id)
            .with_for_update(key_share=references)
        )
        return [self.of_row(row) for row in rows]

    async def select_page(
        self,
        page: PageRequest,
        *conditions: ColumnElement[bool],
        order_by: OrderBy,
    ) -> Sequence[T]:
        """Return the records of one page. `order_by` must be unique, or pages overlap."""
        statement = self._select(conditions).order_by(*order_by.within(self._table))
        return await self.select(statement.limit(page.size).offset(page.offset))

    async def count(self, *conditions: ColumnElement[bool], limit: int = MOST_COUNTED) -> int:
        """Return the number of matching records; counting stops at `limit`."""
        counted = await self._transaction.read(self.counting(*conditions, limit=limit))
        return int(counted.scalar_one())

    def counting(self, *conditions: ColumnElement[bool], limit: int) -> Select[Any]:
        """Return the statement that counts matching records; counting stops at `limit`."""
        found = select(true()).select_from(self._table).where(*conditions).limit(limit)
        return select(func.count()).select_from(found.subquery())

    async def page(
        self,
        page: PageRequest,
        *conditions: ColumnElement[bool],
        order_by: OrderBy,
    ) -> Page[T]:
        """Return one page and the total: one statement for the last page, two for the others."""
        records = await self.select_page(page, *conditions, order_by=order_by)
        if len(records) == page.size or (page.offset and not records):
            return Page(records, await self.count(*conditions))
        return Page(records, min(page.offset + len(records), MOST_COUNTED))

    async def add(self, *records: T, conflicts: Mapping[str, PorticoError] | None = None) -> None:
        """Insert all records in one statement; `conflicts` maps the name of a constraint to the error to raise."""
        if records:
            rows = [self._to_row(record) for record in records]
            await self._transaction.write(insert(self._table), rows, conflicts=conflicts)

    async def save(self, record: T, *, conflicts: Mapping[str, PorticoError] | None = None) -> bool:
        """Update every field of a record; return False if it does not exist."""
        row = self._to_row(record)
        statement = update(self._table).where(self._table.c.id == row["id"]).values(row)
        return (await self._transaction.write(statement, conflicts=conflicts)).rowcount == 1

    async def delete(self, *conditions: ColumnElement[bool]) -> int:
        """Delete every matching record; return how many."""
        result = await self._transaction.write(delete(self._table).where(*conditions))
        return result.rowcount

    def _select(self, conditions: tuple[ColumnElement[bool], ...]) -> Select[Any]:
        return select(*self._columns).select_from(self._table).where(*conditions)


def any_of(column: ColumnElement[T], values: Collection[T]) -> ColumnElement[bool]:
    """Return the condition `column = ANY(values)`; unlike IN, the statement is the same for any number of values."""
    return column == any_(literal(list(values), ARRAY(column.type)))


def contains(
    columns: Collection[ColumnElement[str]], text: str | ColumnElement[str]
) -> ColumnElement[bool]:
    """Return the condition that one of the columns contains `text`; no character is a wildcard."""
    return or_(*(func.strpos(column, text) > 0 for column in columns))
