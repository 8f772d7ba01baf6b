"""Searches users by a keyword, in a time that hardly depends on the number of users.

The index on n-grams finds all users with a keyword, unordered: it has to fetch and sort every match. Reading
the users in order finds common keywords quickly and rare ones late. The planner cannot tell common from rare,
because it takes the n-grams of a word for independent. So a sample of users decides.

Only counting still grows with the matches, up to `MOST_COUNTED`: among a million users, a page for a keyword
of one in a hundred or one in ten takes 11 and 19 ms (4 and 6 ms among ten thousand); rarer keywords take no
longer than before.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Double, cast, column, func, select, table
from sqlalchemy.dialects.postgresql import REGCLASS

from adapters.postgres.table_gateway import OrderBy, TableGateway, any_of, contains
from adapters.postgres.transaction import Transaction
from adapters.postgres.user_tables import SEARCHED, ngrams_of_user, users
from application.paging import MOST_COUNTED, Page, PageRequest
from domain.identity import User, UserId

# Any LIMIT keeps the planner from reading in order where it should use the index.
_ALL = 2**62

_pg_class = table("pg_class", column("oid"), column("reltuples"))

_SAMPLE = 1_000
_COMMON = 0.1
"""Above this share of matching users, a sequential scan counts faster than the index."""


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
        self._found = (*conditions, contains(SEARCHED, needle))
        self._by_index = (*self._found, ngrams_of_user.contains(_ngrams(needle)))

    async def page(self, page: PageRequest) -> Page[User]:
        """Return one page in order; three statements if the keyword is rare."""
        share, everybody = await self._sample()
        if share < _COMMON:
            ids, total = await self._sort(page, limit=self._limit)
            if total < self._limit:
                return Page(await self._users(ids), total)
        else:
            total = await self._gateway.count(*self._found, limit=self._limit)
        # As many rows as the index would fetch: users whose names start with the keyword are neighbours in order.
        scanned = max(self._limit, round(share * everybody))
        records = await self._scan(page, scanned)
        is_complete = total < self._limit and page.offset + len(records) >= total
        if len(records) < page.size and not is_complete:
            ids, _ = await self._sort(page)
            records = await self._users(ids)
        return Page(records, total)

    async def _sample(self) -> tuple[float, float]:
        """Return the share of sampled users with the keyword, and the estimated number of all users."""
        sample = select(*SEARCHED).limit(_SAMPLE).subquery()
        matches = func.count().filter(contains(list(sample.c), self._needle))
        share = func.coalesce(cast(matches, Double) / func.nullif(func.count(), 0), 0.0)
        everybody = select(_pg_class.c.reltuples).where(
            _pg_class.c.oid == cast(users.name, REGCLASS)
        )
        statement = select(
            share.label("share"), everybody.scalar_subquery().label("everybody")
        ).select_from(sample)
        row = (await self._transaction.read(statement)).one()
        return row.share, row.everybody

    async def _sort(self, page: PageRequest, *, limit: int = _ALL) -> tuple[Sequence[UserId], int]:
        """Return the ids of a page of the first `limit` matches of the index, and the number of these matches."""
        columns = {users.c.id, *self._order_by.columns}
        found = select(*columns).where(*self._by_index).limit(limit).subquery()
        rows = (
            await self._transaction.read(
                select(found.c.id, func.count().over().label("total"))
                .order_by(*self._order_by.within(found))
                .limit(page.size)
                .offset(page.offset)
            )
        ).all()
        if rows:
            return [UserId(row.id) for row in rows], rows[0].total
        return [], await self._gateway.count(*self._by_index, limit=limit) if page.offset else 0

    async def _users(self, ids: Sequence[UserId]) -> Sequence[User]:
        return await self._gateway.all(any_of(users.c.id, ids), order_by=self._order_by)

    async def _scan(self, page: PageRequest, scanned: int) -> Sequence[User]:
        """Return the part of a page that is among the first `scanned` users in order."""
        order_by = self._order_by.within(users)
        near = select(users).where(*self._conditions).order_by(*order_by).limit(scanned).subquery()
        return await self._gateway.select(
            select(near)
            .where(contains([near.c[searched.name] for searched in SEARCHED], self._needle))
            .order_by(*self._order_by.within(near))
            .limit(page.size)
            .offset(page.offset)
        )


def _ngrams(needle: str) -> list[str]:
    size = min(3, len(needle))
    return sorted({needle[i : i + size] for i in range(len(needle) - size + 1)})
