"""Lists in responses: numbered pages, and slices with a cursor for lists that grow without bound."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import Field, StringConstraints
from pydantic.alias_generators import to_snake

from application import paging
from entrypoints.http.envelope import ApiModel, MayBeLeftOut, Text
from entrypoints.http.query_types import Number

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S", bound=str)

# With 100 records a page, no offset comes near the end of a 64-bit integer.
_LAST_PAGE = 10_000_000

Keyword = Annotated[Text, Field(max_length=254)]


class Page(ApiModel, Generic[T]):
    """One page of a list, in a stable order."""

    page: int = Field(description="The number of the page, from 1.", examples=[1])
    page_size: int = Field(description="The number of records per page.", examples=[20])
    total: int = Field(
        description=f"The number of records on all pages; {paging.MOST_COUNTED} means that many or more.",
        examples=[1],
    )
    records: Sequence[T]

    @classmethod
    def of(cls, found: paging.Page[R], query: "PageQuery[Any]", present: Callable[[R], T]) -> Self:
        """Present one page."""
        return cls(
            page=query.page,
            page_size=query.page_size,
            total=found.total,
            records=[present(record) for record in found.records],
        )


class PageQuery(ApiModel, Generic[S]):
    """The requested page of a list, and its order; filters of a list inherit it."""

    page: Number = Field(
        default=1, ge=1, le=_LAST_PAGE, description="The number of the page, from 1."
    )
    page_size: Number = Field(
        default=20, ge=1, le=100, description="The number of records per page."
    )
    sort: MayBeLeftOut[S] = Field(
        default=None, description="The field to sort by; prefix `-` for descending order."
    )

    def request(self) -> paging.PageRequest:
        """Return the request for the use case."""
        return paging.PageRequest(self.page, self.page_size, _to_sort(self.sort))


def _to_sort(text: str | None) -> paging.Sort | None:
    if text is None:
        return None
    return paging.Sort(to_snake(text.removeprefix("-")), descending=text.startswith("-"))


class Slice(ApiModel, Generic[T]):
    """Some records of a list that grows without bound, newest first."""

    records: Sequence[T]
    next_cursor: str | None = Field(
        description="The `cursor` of the next request; null at the end of the list.",
        examples=["1767225600000000-0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"],
    )

    @classmethod
    def of(cls, found: paging.Slice[R], present: Callable[[R], T]) -> Self:
        """Present one slice."""
        return cls(
            records=[present(record) for record in found.records],
            next_cursor=str(found.next) if found.next else None,
        )


_CursorText = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{1,16}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
    ),
]


class SliceQuery(ApiModel):
    """The requested part of such a list; filters inherit it."""

    cursor: MayBeLeftOut[_CursorText] = Field(
        default=None, description="The `nextCursor` of the previous response."
    )
    page_size: Number = Field(
        default=20, ge=1, le=100, description="The number of records to return."
    )

    def after(self) -> paging.Cursor | None:
        """Return the record after which the slice starts."""
        return None if self.cursor is None else paging.Cursor.parse(self.cursor)
