"""Finding users by a keyword, in a time that hardly depends on how many users there are.

An index on n-grams knows who has a keyword, but not in which order: it has to fetch all of them and sort.
Walking through the users in order soon meets those that many have, and may never meet the others. The
planner cannot tell which is which, as it takes the n-grams of a word for independent. So a sample decides.

What still grows is the count, with those that are found and up to `MOST_COUNTED` of them: of a million users a page for
a keyword that one in a hundred has, or one in ten, takes three times as long as of ten thousand (11 and 19 ms where it
was 4 and 6), and as long for any that is rarer or for none.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Double, cast, column, func, select, table
from sqlalchemy.dialects.postgresql import REGCLASS

from adapters.postgres.records import OrderBy, Records, among, contains
from adapters.postgres.tables import SEARCHED, ngrams_of_user, users
from adapters.postgres.transaction import Transaction
from application.paging import MOST_COUNTED, Page, PageRequest
from domain.identity import User, UserId

# Unlike no limit at all, it keeps the planner from walking where it shall use the index.
_ALL = 2**62

_pg_class = table("pg_class", column("oid"), column("reltuples"))

_SAMPLE = 1_000
_COMMON = 0.1
"""Of the users have a keyword that is sooner counted by looking at one after the other than by the index."""


class UserSearch:
    """The users that have `needle`, which is folded, in one of their names, and meet the conditions.

    More than `most` are not counted.
    """

    def __init__(
        self,
        transaction: Transaction,
        records: Records[User],
        needle: str,
        conditions: Sequence[ColumnElement[bool]],
        *,
        order_by: OrderBy,
        most: int = MOST_COUNTED,
    ) -> None:
        self._transaction = transaction
        self._records = records
        self._needle = needle
        self._conditions = conditions
        self._order_by = order_by
        self._most = most
        self._found = (*conditions, contains(SEARCHED, needle))
        self._by_index = (*self._found, ngrams_of_user.contains(_ngrams(needle)))

    async def page(self, page: PageRequest) -> Page[User]:
        """Return one page in order; in three statements if few have the keyword."""
        share, everybody = await self._sample()
        if share < _COMMON:
            ids, total = await self._sort(page, most=self._most)
            if total < self._most:
                return Page(await self._users(ids), total)
        else:
            total = await self._records.count(*self._found, most=self._most)
        # As far as the index would have to: in the order of names, those that start with the keyword are neighbours.
        reach = max(self._most, round(share * everybody))
        records = await self._walk(page, reach)
        is_complete = total < self._most and page.offset + len(records) >= total
        if len(records) < page.size and not is_complete:
            ids, _ = await self._sort(page)
            records = await self._users(ids)
        return Page(records, total)

    async def _sample(self) -> tuple[float, float]:
        """Return which share of some users has the keyword, and about how many users there are."""
        some = select(*SEARCHED).limit(_SAMPLE).subquery()
        having = func.count().filter(contains(list(some.c), self._needle))
        share = func.coalesce(cast(having, Double) / func.nullif(func.count(), 0), 0.0)
        everybody = select(_pg_class.c.reltuples).where(
            _pg_class.c.oid == cast(users.name, REGCLASS)
        )
        asked = select(
            share.label("share"), everybody.scalar_subquery().label("everybody")
        ).select_from(some)
        row = (await self._transaction.read(asked)).one()
        return row.share, row.everybody

    async def _sort(self, page: PageRequest, *, most: int = _ALL) -> tuple[Sequence[UserId], int]:
        """Return who is on a page of the first `most` that the index happens to find, and how many these are."""
        columns = {users.c.id, *self._order_by.columns}
        found = select(*columns).where(*self._by_index).limit(most).subquery()
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
        return [], await self._records.count(*self._by_index, most=most) if page.offset else 0

    async def _users(self, ids: Sequence[UserId]) -> Sequence[User]:
        return await self._records.all(among(users.c.id, ids), order_by=self._order_by)

    async def _walk(self, page: PageRequest, reach: int) -> Sequence[User]:
        """Return what is on a page, or the part of it that is found among the first users in order."""
        order_by = self._order_by.within(users)
        near = select(users).where(*self._conditions).order_by(*order_by).limit(reach).subquery()
        return await self._records.select(
            select(near)
            .where(contains([near.c[searched.name] for searched in SEARCHED], self._needle))
            .order_by(*self._order_by.within(near))
            .limit(page.size)
            .offset(page.offset)
        )


def _ngrams(needle: str) -> list[str]:
    size = min(3, len(needle))
    return sorted({needle[i : i + size] for i in range(len(needle) - size + 1)})
