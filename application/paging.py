"""Pages of lists that can grow, and cursors of lists that grow without bound."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from domain.instants import from_microseconds, to_microseconds

T = TypeVar("T")

MOST_COUNTED = 1_000
"""Counting stops here, or the first page of a million records would cost a look at every one of them."""


@dataclass(frozen=True, slots=True)
class Sort:
    """By which field of its records a list is ordered; each list says which it offers."""

    by: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The `number`th page (from 1) of `size` records, in the list's own order or another."""

    number: int = 1
    size: int = 20
    sort: Sort | None = None

    @property
    def offset(self) -> int:
        """How many records come before the page."""
        return (self.number - 1) * self.size


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page, and how many records there are in all."""

    records: Sequence[T]
    total: int
    """Exact below `MOST_COUNTED`; that number means that there are as many or more."""


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in a list that is ordered by time, newest first: right after this record."""

    at: datetime
    id: UUID

    def __str__(self) -> str:
        """Return the text that clients send back: microseconds since 1970, and the id."""
        return f"{to_microseconds(self.at)}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Return the cursor that `str` has written; raise `ValueError` for another text."""
        microseconds, _, record = text.partition("-")
        return cls(from_microseconds(int(microseconds)), UUID(record))


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """Some records, and the cursor that goes on after them; None at the end."""

    records: Sequence[T]
    next: Cursor | None
