"""What bodies look like: camelCase out, camelCase and snake_case in, and every success in one envelope."""

import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

T = TypeVar("T")

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
    total: int = Field(description="How many records there are on all pages.", examples=[1])
    records: Sequence[T]


class PageQuery(Body):
    """Which page of a list is asked for; filters of a list inherit it."""

    page: int = Field(default=1, ge=1, le=_LAST_PAGE, description="Which page, from 1.")
    page_size: int = Field(default=20, ge=1, le=100, description="How many records a page has.")

    @property
    def offset(self) -> int:
        """How many records come before this page."""
        return (self.page - 1) * self.page_size


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("Input should not contain a NUL character")
    return text


Text = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_without_nul)]
"""Text from outside: bounded, and without NUL, which PostgreSQL cannot store. A field may set a smaller bound."""
