"""What documents need from outside: the outbox in the relational store, the audit log behind it, and repositories."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from application.paging import Cursor, Page, PageRequest, Slice
from domain.documents import AuditEntry, AuditId, AuditOutcome, DocumentId
from domain.identity import UserId

T = TypeVar("T")
F_contra = TypeVar("F_contra", contravariant=True)


class Outbox(Protocol):
    """Audit entries of one unit of work on their way to the audit log."""

    async def add(self, entry: AuditEntry) -> None:
        """Keep an entry until it is delivered; it exists exactly if the unit of work commits."""
        ...

    async def take(self, most: int) -> Sequence[AuditEntry]:
        """Return the oldest entries that no other unit of work has taken, and hold them until this one ends."""
        ...

    async def remove(self, ids: Collection[AuditId]) -> None:
        """Forget delivered entries."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries to find; each field narrows."""

    actor: UserId | None = None
    concerned: UserId | None = None
    """Who did it, or whom it was done to."""
    action: str | None = None
    """Exact, or a prefix that ends with a dot: `users.` finds `users.created`."""
    target: str | None = None
    outcome: AuditOutcome | None = None
    since: datetime | None = None
    """The first instant to find, aware."""
    until: datetime | None = None
    """The first instant that is too late, aware."""


class AuditLog(Protocol):
    """Everything that was done, append-only. Each method raises `Unavailable` if the store is down or slow."""

    async def prepare(self) -> None:
        """Make the log ready: what finds entries fast, and what forgets them after the time that settings say.

        Any number of processes may do so at once, and as often as they like.
        """
        ...

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Store entries durably; one that is there already, by its id, stays as it is.

        After `Unavailable` some of them may be there: append them all again.
        """
        ...

    async def find(
        self, which: AuditFilter, *, after: Cursor | None, most: int
    ) -> Slice[AuditEntry]:
        """Return up to `most` entries, newest first (`at`, then `id`), going on after a cursor."""
        ...


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

    async def find(self, which: F_contra, *, order: Order, most: int) -> Sequence[T]:
        """Return the first `most` that the filter finds."""
        ...

    async def page(self, which: F_contra, page: PageRequest, *, order: Order) -> Page[T]:
        """Return one page of what the filter finds. Deep pages cost a look at all before them."""
        ...

    async def count(self, which: F_contra) -> int:
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
