"""Searches users by a keyword, in a time that hardly depends on the number of users.

The index on n-grams finds all users with a keyword, unordered: it has to fetch and sort every match. Reading
the users in order finds common keywords quickly and rare ones late. The planner cannot tell common from rare,
because it takes the n-grams of a word for independent. So a sample of users decides; the length of a keyword
does not matter. A sample of a thousand tells the number of rare ones roughly: neither way goes on for long
when it is mistaken.

What stays slow: a keyword of one in twenty, all of whose users come late in the order, because their usernames
begin with it. Then every match is fetched.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import REGCLASS

from adapters.postgres.table_gateway import OrderBy, TableGateway, contains
from adapters.postgres.transaction import Transaction
from adapters.postgres.user_tables import SEARCHED, ngrams_of_user, users
from application.paging import MOST_COUNTED, Page, PageRequest
from domain.identity import User

# Any LIMIT keeps the planner from reading in order where it should use the index.
_ALL = 2**62

_pg_class = table("pg_class", column("oid"), column("reltuples"))

# What ways of searching cost, in microseconds.
_READ = 0.3
"""To read a user from the table, in no order."""
_READ_INDEX = 0.2
"""To read one in order from an index that has all that is searched, for it is in one place."""
_FIND = 0.2
"""To find a match in the index on n-grams."""
_FETCH = 1.3
"""To fetch a user: they are all over the table. 0.6 from the server's memory, 5 from elsewhere."""

_FEW = 4
"""So many times what is counted may yet be fewer: the sample tells their number roughly."""
_PATIENCE = 3
"""So many times the users whom the sample lets expect are read in order before all matches are sorted."""


class UserSearch:
    """Finds the users who meet the conditions and have `needle` (casefolded) in one of their names.

    Counting stops at `limit`.
    """

    def __init__(
        self,
        transaction: Transaction,
        gateway: TableGateway[User],
        needle: str,
        conditions: Sequence[ColumnElement[bool]],
        *,
        order_by: OrderBy,
        limit: int = MOST_COUNTED,
    ) -> None:
        self._transaction = transaction
        self._gateway = gateway
        self._needle = needle
        self._conditions = conditions
        self._order_by = order_by
        self._limit = limit
        is_in_index = not conditions and [*order_by.columns] == [users.c.username_key]
        self._reading = _READ_INDEX if is_in_index else _FETCH
        self._found = (*conditions, contains(SEARCHED, needle))
        self._by_index = (*self._found, ngrams_of_user.contains(_ngrams(needle)))

    async def page(self, page: PageRequest) -> Page[User]:
        """Return one page in order: two statements, or more where the sample misleads or the page is beyond the end."""
        share, everybody = await self._sample()
        matches = share * everybody
        counting = _READ * min(everybody, self._limit / share)
        counting_by_index = _FIND * matches + _FETCH * min(matches, self._limit)
        is_rare = counting_by_index <= counting
        if is_rare and matches <= self._limit * _FEW:
            # The more it costs to read in order, the more are sorted before it is tried.
            most = round(self._limit * self._reading / _READ_INDEX)
            records, total = await self._sort(page, limit=most)
            if total < most:
                return Page(records, min(total, self._limit))
            counted: ColumnElement[int] = literal(self._limit)
        else:
            found = self._by_index if is_rare else self._found
            counted = self._gateway.counting(*found, limit=self._limit).scalar_subquery()
        # So many users are expected to be read in order until the page is full. Users whose names start with the
        # keyword are neighbours in order, and may all be late in it: then all matches are sorted.
        needed = (page.offset + page.size) / share
        sorting = (_FIND + _FETCH) * matches
        scanned = max(self._limit, matches, min(_PATIENCE * needed, sorting / self._reading))
        records, total = await self._scan(page, round(scanned), counted)
        is_complete = total < self._limit and page.offset + len(records) >= total
        if len(records) < page.size and not is_complete:
            records, _ = await self._sort(page)
        return Page(records, total)

    async def _sample(self) -> tuple[float, float]:
        """Return the estimated share of users with the keyword, which is never 0, and number of all users."""
        row = (await self._transaction.read(_SAMPLE, needle=self._needle)).one()
        return row.share, row.everybody

    async def _sort(self, page: PageRequest, *, limit: int = _ALL) -> tuple[Sequence[User], int]:
        """Return a page of the first `limit` matches of the index, and the number of these matches.

        Without a limit they are not counted for a page beyond the end, for that would be to read all of them again.
        """
        columns = {users.c.id, *self._order_by.columns}
        found = select(*columns).where(*self._by_index).limit(limit).subquery()
        ids = (
            select(found.c.id, func.count().over().label("total"))
            .order_by(*self._order_by.within(found))
            .limit(page.size)
            .offset(page.offset)
            .subquery()
        )
        rows = (
            await self._transaction.read(
                select(*users.c, ids.c.total)
                .join(ids, users.c.id == ids.c.id)
                .order_by(*self._order_by.within(users))
            )
        ).all()
        if rows:
            return [self._gateway.of_row(row) for row in rows], rows[0].total
        if page.offset == 0 or limit == _ALL:
            return [], 0
        return [], await self._gateway.count(*self._by_index, limit=limit)

    async def _scan(
        self, page: PageRequest, scanned: int, total: ColumnElement[int]
    ) -> tuple[Sequence[User], int]:
        """Return the part of a page that is among the first `scanned` users in order, and the value of `total`."""
        columns = {users.c.id, *self._order_by.columns, *SEARCHED}
        near = (
            select(*columns)
            .where(*self._conditions)
            .order_by(*self._order_by.within(users))
            .limit(scanned)
            .subquery()
        )
        ids = (
            select(near.c.id)
            .where(contains([near.c[searched.name] for searched in SEARCHED], self._needle))
            .order_by(*self._order_by.within(near))
            .limit(page.size)
            .offset(page.offset)
            .subquery()
        )
        rows = (
            await self._transaction.read(
                select(*users.c, total.label("total"))
                .join(ids, users.c.id == ids.c.id)
                .order_by(*self._order_by.within(users))
            )
        ).all()
        if rows:
            return [self._gateway.of_row(row) for row in rows], rows[0].total
        return [], (await self._transaction.read(select(total))).scalar_one()


def _sample(users_in_it: int = 1_000) -> Select[Any]:
    everybody = (
        select(_pg_class.c.reltuples)
        .where(_pg_class.c.oid == cast(users.name, REGCLASS))
        .scalar_subquery()
    )
    # Of pages all over the table: the oldest users may be unlike all others.
    percent = func.least(100, 100 * users_in_it / func.greatest(everybody, 1))
    pages = users.tablesample(func.system(percent))
    # A table that was never analyzed has no estimate, and all its pages are asked for.
    found = select(*(pages.c[each.name] for each in SEARCHED)).limit(2 * users_in_it).subquery()
    matches = func.count().filter(contains(list(found.c), bindparam("needle", type_=Text)))
    # As if one more had been asked, who has it: of none among a thousand, some may be among a million.
    share = cast(matches + 1, Double) / (func.count() + 1)
    return select(
        share.label("share"), func.greatest(everybody, func.count()).label("everybody")
    ).select_from(found)


_SAMPLE = _sample()


def _ngrams(needle: str) -> list[str]:
    size = min(3, len(needle))
    return sorted({needle[i : i + size] for i in range(len(needle) - size + 1)})
