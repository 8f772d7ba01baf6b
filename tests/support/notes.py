"""Notes: the smallest repository of documents that has everything, as an example to copy.

An entity, a filter, how the two become a document and a query, and the repository.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from adapters.memory.documents import MemoryCollection, MemoryDocuments
from adapters.mongo.client import MongoClient
from adapters.mongo.documents import MongoRepository


@dataclass(slots=True, kw_only=True)
class Note:
    id: UUID
    owner: str
    text: str
    importance: int = 0
    tags: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteFilter:
    owner: str | None = None
    more_important_than: int | None = None


def to_document(note: Note) -> dict[str, Any]:
    return {
        "_id": note.id,
        "owner": note.owner,
        "text": note.text,
        "importance": note.importance,
        "tags": note.tags,
    }


def to_note(document: Mapping[str, Any]) -> Note:
    fields = {**document}
    return Note(id=fields.pop("_id"), **fields)


def to_query(which: NoteFilter) -> dict[str, object]:
    query: dict[str, object] = {}
    if which.owner is not None:
        query["owner"] = which.owner
    if which.more_important_than is not None:
        query["importance"] = {"$gt": which.more_important_than}
    return query


def matches(which: NoteFilter, note: Note) -> bool:
    return which.owner in {None, note.owner} and (
        which.more_important_than is None or note.importance > which.more_important_than
    )


def mongo_notes(client: MongoClient, database: str) -> MongoRepository[Note, NoteFilter]:
    return MongoRepository(client[database]["notes"], to_document, to_note, to_query)


def memory_notes(collection: MemoryCollection) -> MemoryDocuments[Note, NoteFilter]:
    return MemoryDocuments(collection, to_document, to_note, matches)
