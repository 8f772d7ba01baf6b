"""`Documents` in memory, and transactions on them."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeAlias, TypeVar

from application.paging import MOST_COUNTED, Page, PageRequest
from application.ports.documents import Documents, Order
from domain.documents import DocumentExists, DocumentId, DocumentNotFound
from domain.errors import Unavailable

T = TypeVar("T")
F = TypeVar("F")

_Document: TypeAlias = dict[str, Any]


@dataclass(slots=True, eq=False)
class MemoryCollection:
    """The committed documents of one kind."""

    committed: dict[DocumentId, _Document] = field(default_factory=dict)

    def apply(self, writes: Mapping[DocumentId, _Document | None]) -> None:
        """Store documents, and remove those that are None."""
        for document_id, document in writes.items():
            if document is None:
                self.committed.pop(document_id, None)
            else:
                self.committed[document_id] = document


@dataclass(slots=True)
class _View:
    """The documents of one collection at the first access of a transaction, and its writes since."""

    seen: dict[DocumentId, _Document]
    written: dict[DocumentId, _Document | None] = field(default_factory=dict)


class DocumentTransaction:
    """The view and the writes of one transaction. Of two that write the same document, the later one fails."""

    def __init__(self) -> None:
        self._views: dict[MemoryCollection, _View] = {}
        self.failed = False

    def visible(self, collection: MemoryCollection) -> dict[DocumentId, _Document]:
        """Return the documents as this transaction sees them."""
        view = self._view(collection)
        merged = view.seen | view.written
        return {one: document for one, document in merged.items() if document is not None}

    def write(
        self, collection: MemoryCollection, writes: Mapping[DocumentId, _Document | None]
    ) -> None:
        """Keep writes until the commit."""
        self._view(collection).written.update(writes)

    def commit(self) -> None:
        """Publish the writes, or raise `Unavailable` and change nothing."""
        for collection, view in self._views.items():
            if self.failed or any(
                collection.committed.get(one) is not view.seen.get(one) for one in view.written
            ):
                raise Unavailable("Memory")
        for collection, view in self._views.items():
            collection.apply(view.written)

    def _view(self, collection: MemoryCollection) -> _View:
        if self.failed:
            raise Unavailable("Memory")
        return self._views.setdefault(collection, _View(dict(collection.committed)))


@asynccontextmanager
async def document_transaction() -> AsyncIterator[DocumentTransaction]:
    """Apply all writes of the block at its end, or none if it raises."""
    transaction = DocumentTransaction()
    yield transaction
    transaction.commit()


@dataclass(frozen=True, slots=True)
class MemoryDocuments(Documents[T, F], Generic[T, F]):
    """A collection of documents whose `_id` is the id of an entity."""

    collection: MemoryCollection
    to_document: Callable[[T], _Document]
    to_entity: Callable[[_Document], T]
    matches: Callable[[F, T], bool]
    transaction: DocumentTransaction | None = None

    def within(self, transaction: DocumentTransaction) -> Self:
        """Return the same repository in a transaction."""
        return replace(self, transaction=transaction)

    async def get(self, document_id: DocumentId) -> T:
        found = await self.get_many([document_id])
        if not found:
            raise DocumentNotFound(document_id)
        return found[0]

    async def get_many(self, ids: Collection[DocumentId]) -> Sequence[T]:
        visible = self._visible()
        return [self._entity(visible[one]) for one in ids if one in visible]

    async def find(self, criteria: F, *, order: Order, limit: int) -> Sequence[T]:
        return self._found(criteria, order)[:limit]

    async def page(self, criteria: F, page: PageRequest, *, order: Order) -> Page[T]:
        found = self._found(criteria, order)
        records = found[page.offset : page.offset + page.size]
        return Page(records, min(len(found), MOST_COUNTED))

    async def count(self, criteria: F) -> int:
        return len(self._found(criteria, Order()))

    async def create(self, entity: T) -> None:
        await self.create_many([entity])

    async def create_many(self, entities: Sequence[T]) -> None:
        there = {*self._visible()}
        new: dict[DocumentId, _Document | None] = {}
        taken = []
        for document in map(self._document, entities):
            document_id = document["_id"]
            if document_id in there or document_id in new:
                taken.append(document_id)
            else:
                new[document_id] = document
        self._write(new)
        if taken:
            if self.transaction:
                self.transaction.failed = True
            raise DocumentExists(*taken)

    async def update(self, entity: T) -> None:
        await self.update_many([entity])

    async def update_many(self, entities: Sequence[T]) -> None:
        there = {*self._visible()}
        documents = {one["_id"]: one for one in map(self._document, entities)}
        self._write({one: document for one, document in documents.items() if one in there})
        missing = [one for one in documents if one not in there]
        if missing:
            raise DocumentNotFound(*missing)

    async def delete(self, document_id: DocumentId) -> None:
        if not await self.delete_many([document_id]):
            raise DocumentNotFound(document_id)

    async def delete_many(self, ids: Collection[DocumentId]) -> int:
        there = self._visible().keys() & {*ids}
        self._write(dict.fromkeys(there))
        return len(there)

    def _visible(self) -> dict[DocumentId, _Document]:
        if self.transaction:
            return self.transaction.visible(self.collection)
        return self.collection.committed

    def _write(self, writes: Mapping[DocumentId, _Document | None]) -> None:
        if self.transaction:
            self.transaction.write(self.collection, writes)
        else:
            self.collection.apply(writes)

    def _found(self, criteria: F, order: Order) -> list[T]:
        documents = sorted(
            self._visible().values(),
            key=lambda document: (document[order.by], document["_id"]),
            reverse=order.descending,
        )
        return [e for e in map(self._entity, documents) if self.matches(criteria, e)]

    def _document(self, entity: T) -> _Document:
        return deepcopy(self.to_document(entity))

    def _entity(self, document: _Document) -> T:
        return self.to_entity(deepcopy(document))
