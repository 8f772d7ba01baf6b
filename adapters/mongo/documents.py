"""`Documents` in a MongoDB collection: the base of new repositories.

It says how its entity becomes a document and back, and what its filter asks for: `tests/support/notes.py` is one.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from adapters.mongo.client import Document, MongoCollection, MongoSession
from adapters.mongo.errors import DUPLICATE, unavailable_when_down
from application.paging import MOST_COUNTED, Page, PageRequest
from application.ports.documents import Documents, Order
from domain.documents import DocumentExists, DocumentId, DocumentNotFound

T = TypeVar("T")
F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class MongoRepository(Documents[T, F], Generic[T, F]):
    """A collection of documents whose `_id` is the id of an entity."""

    collection: MongoCollection
    to_document: Callable[[T], Document]
    to_entity: Callable[[Document], T]
    to_query: Callable[[F], Mapping[str, object]]
    session: MongoSession | None = None

    def within(self, session: MongoSession) -> Self:
        """Return the same repository in the transaction of `session`."""
        return replace(self, session=session)

    async def get(self, document_id: DocumentId) -> T:
        found = await self.get_many([document_id])
        if not found:
            raise DocumentNotFound(document_id)
        return found[0]

    async def get_many(self, ids: Collection[DocumentId]) -> Sequence[T]:
        with unavailable_when_down():
            cursor = self.collection.find({"_id": {"$in": [*ids]}}, session=self.session)
            found = {document["_id"]: document for document in await cursor.to_list(None)}
        return [self.to_entity(found[one]) for one in ids if one in found]

    async def find(self, criteria: F, *, order: Order, limit: int) -> Sequence[T]:
        return await self._find(criteria, order, skip=0, limit=limit)

    async def page(self, criteria: F, page: PageRequest, *, order: Order) -> Page[T]:
        total = await self._count(criteria, limit=MOST_COUNTED)
        records = await self._find(criteria, order, skip=page.offset, limit=page.size)
        return Page(records, total)

    async def count(self, criteria: F) -> int:
        return await self._count(criteria)

    async def create(self, entity: T) -> None:
        await self.create_many([entity])

    async def create_many(self, entities: Sequence[T]) -> None:
        documents = [self.to_document(entity) for entity in entities]
        if documents:
            with unavailable_when_down(), _taken([one["_id"] for one in documents]):
                await self.collection.insert_many(documents, ordered=False, session=self.session)

    async def update(self, entity: T) -> None:
        await self.update_many([entity])

    async def update_many(self, entities: Sequence[T]) -> None:
        documents = {one["_id"]: one for one in map(self.to_document, entities)}
        if not documents:
            return
        with unavailable_when_down(), _taken([*documents]):
            replaced = await self.collection.bulk_write(
                [ReplaceOne({"_id": one}, document) for one, document in documents.items()],
                ordered=False,
                session=self.session,
            )
        if replaced.matched_count < len(documents):
            raise DocumentNotFound(*await self._missing([*documents]))

    async def delete(self, document_id: DocumentId) -> None:
        if not await self.delete_many([document_id]):
            raise DocumentNotFound(document_id)

    async def delete_many(self, ids: Collection[DocumentId]) -> int:
        with unavailable_when_down():
            deleted = await self.collection.delete_many(
                {"_id": {"$in": [*ids]}}, session=self.session
            )
        return deleted.deleted_count

    async def _find(self, criteria: F, order: Order, *, skip: int, limit: int) -> Sequence[T]:
        direction = -1 if order.descending else 1
        sort = dict.fromkeys((order.by, "_id"), direction)
        with unavailable_when_down():
            cursor = self.collection.find(
                self.to_query(criteria),
                sort=[*sort.items()],
                skip=skip,
                limit=limit,
                session=self.session,
            )
            return [self.to_entity(document) for document in await cursor.to_list(limit)]

    async def _count(self, criteria: F, **limit: int) -> int:
        with unavailable_when_down():
            return await self.collection.count_documents(
                self.to_query(criteria), session=self.session, **limit
            )

    async def _missing(self, ids: Sequence[DocumentId]) -> Sequence[DocumentId]:
        with unavailable_when_down():
            cursor = self.collection.find({"_id": {"$in": ids}}, {"_id": 1}, session=self.session)
            found = {document["_id"] for document in await cursor.to_list(None)}
        return [one for one in ids if one not in found]


@contextmanager
def _taken(ids: Sequence[DocumentId]) -> Iterator[None]:
    """Turn duplicate keys into `DocumentExists`; `ids` are those of the writes, in their order."""
    try:
        yield
    except BulkWriteError as error:
        refused = error.details["writeErrors"]
        if {one["code"] for one in refused} != {DUPLICATE}:
            raise
        raise DocumentExists(*(ids[one["index"]] for one in refused)) from error
