"""What bodies look like: camelCase out, camelCase and snake_case in, and every success in one envelope."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Generic, Self, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic.alias_generators import to_camel

from application import paging

T = TypeVar("T")
R = TypeVar("R")

# With 100 records a page, no offset comes near the end of a 64-bit integer.
_LAST_PAGE = 10_000_000


class Body(BaseModel):
    """The base of every body. A field that a request may not have is refused, not ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
    )


class Response(Body, Generic[T]):
    """The envelope of a success."""

    code: int = Field(default=HTTPStatus.OK, description="The HTTP status.", examples=[200])
    message: str = Field(default="Successful.", examples=["Successful."])
    ts: int = Field(
        default_factory=lambda: int(time.time()),
        description="When this was answered, in Unix seconds.",
        examples=[1767225600],
    )
    data: T


class Created(Response[T], Generic[T]):
    """The envelope of what was made."""

    code: int = Field(default=HTTPStatus.CREATED, description="The HTTP status.", examples=[201])


class Page(Body, Generic[T]):
    """One page of a list that can grow, in a stable order."""

    page: int = Field(description="Which page, from 1.", examples=[1])
    page_size: int = Field(description="How many records a page has.", examples=[20])
    total: int = Field(
        description=f"How many records there are on all pages; {paging.MOST_COUNTED} means that many or more.",
        examples=[1],
    )
    records: Sequence[T]

    @classmethod
    def of(cls, found: paging.Page[R], query: "PageQuery", present: Callable[[R], T]) -> Self:
        """Present what was found."""
        return cls(
            page=query.page,
            page_size=query.page_size,
            total=found.total,
            records=[present(record) for record in found.records],
        )


class PageQuery(Body):
    """Which page of a list is asked for; filters of a list inherit it."""

    page: int = Field(default=1, ge=1, le=_LAST_PAGE, description="Which page, from 1.")
    page_size: int = Field(default=20, ge=1, le=100, description="How many records a page has.")

    def request(self) -> paging.PageRequest:
        """Return what the use case is asked for."""
        return paging.PageRequest(self.page, self.page_size)


class Slice(Body, Generic[T]):
    """Some records of a list that grows without bound, newest first."""

    records: Sequence[T]
    next_cursor: str | None = Field(
        description="The `cursor` that goes on after these; null at the end.",
        examples=["1767225600000000-0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"],
    )

    @classmethod
    def of(cls, found: paging.Slice[R], present: Callable[[R], T]) -> Self:
        """Present what was found."""
        return cls(
            records=[present(record) for record in found.records],
            next_cursor=_to_text(found.next) if found.next else None,
        )


_CursorText = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{1,16}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
    ),
]


class SliceQuery(Body):
    """Which part of such a list is asked for; filters inherit it."""

    cursor: _CursorText | None = Field(
        default=None, description="The `nextCursor` of the answer before."
    )
    page_size: int = Field(default=20, ge=1, le=100, description="How many records to get.")

    def after(self) -> paging.Cursor | None:
        """Return after which record to go on."""
        return None if self.cursor is None else _to_cursor(self.cursor)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _to_text(cursor: paging.Cursor) -> str:
    return f"{(cursor.at - _EPOCH) // _MICROSECOND}-{cursor.id}"


def _to_cursor(text: str) -> paging.Cursor:
    microseconds, _, record = text.partition("-")
    return paging.Cursor(_EPOCH + int(microseconds) * _MICROSECOND, UUID(record))


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("Input should not contain a NUL character")
    return text


Text = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_without_nul)]
"""Text from outside: bounded, and without NUL, which PostgreSQL cannot store. A field may set a smaller bound."""

Keyword = Annotated[
    Text, Field(max_length=254, description="A literal part of it, upper and lower case aside.")
]


def _not_null(value: object) -> object:
    if value is None:
        raise ValueError("Input should not be null; leave the field out")
    return value


def _never_null(schema: dict[str, Any]) -> None:
    """Describe a field that may be left out and may not be null."""
    schema |= next(branch for branch in schema.pop("anyOf") if branch != {"type": "null"})
    del schema["default"]


MayBeLeftOut = Annotated[T | None, BeforeValidator(_not_null), Field(json_schema_extra=_never_null)]
"""What a change leaves as it is if it is not sent: None then, and null is refused. Give it the default None."""
