"""Searches users by a keyword, in a time that hardly depends on the number of users.

The index on n-grams finds all users with a keyword, unordered: it has to fetch and sort every match. Reading
the users in order finds common keywords quickly and rare ones late. The planner cannot tell common from rare,
because it takes the n-grams of a word for independent. So a sample of users decides; the length of a keyword
does not matter.

What stays slow: a keyword of one in twenty, all of whose users come late in the order, because their usernames
begin with it. Then every match is fetched.
"""

import math
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

# What ways of searching cost, in users read in order from the table.
_READ_INDEX = 0.25
"""To read one in order from an index that has all that is searched, for it is in one place."""
_FIND = 0.7
"""To find a match in the index."""
_FETCH = 1.3
"""To fetch it: matches are all over the table."""
_FETCHED_PER_COUNTED = 10
"""So many times what is counted is fetched before a keyword that the sample showed as rare is taken for common."""


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
        self._reading = _READ_INDEX if is_in_index else 1
        self._found = (*conditions, contains(SEARCHED, needle))
        self._by_index = (*self._found, ngrams_of_user.contains(_ngrams(needle)))

    async def page(self, page: PageRequest) -> Page[User]:
        """Return one page in order; two statements if the keyword is rare."""
        share, everybody = await self._sample()
        matches = share * everybody
        counting_by_index = _FIND * matches + _FETCH * min(matches, self._limit)
        # So many users are expected to be read until all are counted, and until the page is full.
        counting = min(everybody, self._limit / share) if share else math.inf
        reading = (page.offset + page.size) / share * self._reading if share else math.inf
        most = self._limit * _FETCHED_PER_COUNTED
        in_order = min(counting, counting_by_index) + reading
        if (_FIND + _FETCH) * matches <= in_order and matches < most:
            records, total = await self._sort(page, limit=most)
            if total < most:
                return Page(records, min(total, self._limit))
        found = self._found if counting < counting_by_index else self._by_index
        # As many rows as the index would fetch: users whose names start with the keyword are neighbours in order.
        records, total = await self._scan(page, max(self._limit, round(matches)), count=found)
        is_complete = total < self._limit and page.offset + len(records) >= total
        if len(records) < page.size and not is_complete:
            records, _ = await self._sort(page)
        return Page(records, total)

    async def _sample(self) -> tuple[float, float]:
        """Return the share of sampled users with the keyword, and the estimated number of all users."""
        row = (await self._transaction.read(_SAMPLE, needle=self._needle)).one()
        return row.share, row.everybody

    async def _sort(self, page: PageRequest, *, limit: int = _ALL) -> tuple[Sequence[User], int]:
        """Return a page of the first `limit` matches of the index, and the number of these matches."""
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
        return [], await self._gateway.count(*self._by_index, limit=limit) if page.offset else 0

    async def _scan(
        self, page: PageRequest, scanned: int, *, count: Sequence[ColumnElement[bool]]
    ) -> tuple[Sequence[User], int]:
        """Return the part of a page that is among the first `scanned` users in order, and count what meets `count`."""
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
        total = self._gateway.counting(*count, limit=self._limit).scalar_subquery()
        rows = (
            await self._transaction.read(
                select(*users.c, total.label("total"))
                .join(ids, users.c.id == ids.c.id)
                .order_by(*self._order_by.within(users))
            )
        ).all()
        if rows:
            return [self._gateway.of_row(row) for row in rows], rows[0].total
        return [], await self._gateway.count(*count, limit=self._limit)


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
    share = func.coalesce(cast(matches, Double) / func.nullif(func.count(), 0), 0.0)
    return select(
        share.label("share"), func.greatest(everybody, func.count()).label("everybody")
    ).select_from(found)


_SAMPLE = _sample()


def _ngrams(needle: str) -> list[str]:
    size = min(3, len(needle))
    return sorted({needle[i : i + size] for i in range(len(needle) - size + 1)})
