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
    """The field of the stored documents that a list is ordered by. Those that are equal in it follow by id.

    It has a value of one type in every document; only then do all stores agree.
    """

    by: str = "_id"
    descending: bool = False


class Documents(Protocol[T, F_contra]):
    """Entities of one type as documents, each under its own id, and a filter whose fields each narrow.

    The base for repositories of documents. All methods raise `Unavailable` if the store is down or slow, or
    if two transactions met in a document. Within a transaction any error is its end.
    """

    async def get(self, document_id: DocumentId) -> T:
        """Return one; raise `DocumentNotFound`."""
        ...

    async def get_many(self, ids: Collection[DocumentId]) -> Sequence[T]:
        """Return those that exist, in the order of `ids`."""
        ...

    async def find(self, criteria: F_contra, *, order: Order, limit: int) -> Sequence[T]:
        """Return the first `most` that the filter finds."""
        ...

    async def page(self, criteria: F_contra, page: PageRequest, *, order: Order) -> Page[T]:
        """Return one page of what the filter finds. Deep pages cost a look at all before them."""
        ...

    async def count(self, criteria: F_contra) -> int:
        """Return how many the filter finds."""
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
        """Replace what is stored under its id; raise `DocumentNotFound`."""
        ...

    async def update_many(self, entities: Sequence[T]) -> None:
        """Replace what is stored under their ids; raise `DocumentNotFound` with the ids that do not exist.

        The others are replaced all the same, unless this happens in a transaction that is left by the error.
        """
        ...

    async def delete(self, document_id: DocumentId) -> None:
        """Remove one; raise `DocumentNotFound`."""
        ...

    async def delete_many(self, ids: Collection[DocumentId]) -> int:
        """Remove those that exist; return how many."""
        ...
