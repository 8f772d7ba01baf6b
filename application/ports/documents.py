"""Entities of one type as documents: the base of repositories in the document store."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from application.paging import Page, PageRequest
from domain.documents import DocumentId

T = TypeVar("T")

F_contra = TypeVar("F_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Order:
    """The field of the stored documents that a list is ordered by; ties are ordered by id.

    The field must have values of one type, or stores order them differently.
    """

    by: str = "_id"
    descending: bool = False


class Documents(Protocol[T, F_contra]):
    """Entities of one type as documents, each under its own id; all given fields of a filter must match.

    The base of document repositories. All methods raise `Unavailable` if the store is down or slow, or if two
    transactions change the same document. Any error ends the transaction it happens in.
    """

    async def get(self, document_id: DocumentId) -> T:
        """Return one; raise `DocumentNotFound`."""
        ...

    async def get_many(self, ids: Collection[DocumentId]) -> Sequence[T]:
        """Return those that exist, in the order of `ids`."""
        ...

    async def find(self, criteria: F_contra, *, order: Order, limit: int) -> Sequence[T]:
        """Return the first `limit` that match the filter."""
        ...

    async def page(self, criteria: F_contra, page: PageRequest, *, order: Order) -> Page[T]:
        """Return one page of what matches the filter. A deep page costs a scan of all pages before it."""
        ...

    async def count(self, criteria: F_contra) -> int:
        """Return how many match the filter."""
        ...

    async def create(self, entity: T) -> None:
        """Store a new one; raise `DocumentExists`."""
        ...

    async def create_many(self, entities: Sequence[T]) -> None:
        """Store new ones; raise `DocumentExists` with the ids of those that could not be stored.

        The others are stored all the same, unless this happens in a transaction.
        """
        ...

    async def update(self, entity: T) -> None:
        """Replace the document with its id; raise `DocumentNotFound`."""
        ...

    async def update_many(self, entities: Sequence[T]) -> None:
        """Replace the documents with their ids; raise `DocumentNotFound` with the ids that do not exist.

        The others are replaced all the same, unless this happens in a transaction that is left by the error.
        """
        ...

    async def delete(self, document_id: DocumentId) -> None:
        """Remove one; raise `DocumentNotFound`."""
        ...

    async def delete_many(self, ids: Collection[DocumentId]) -> int:
        """Remove those that exist; return how many."""
        ...
