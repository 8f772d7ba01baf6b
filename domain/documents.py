"""Documents: entities that a document store keeps, each under its own id."""

from collections.abc import Iterable
from typing import TypeAlias
from uuid import UUID

from domain.errors import Conflict, NotFound

DocumentId: TypeAlias = UUID | str | int


class DocumentNotFound(NotFound):
    """There are no documents with these ids."""

    code = "documents.not_found"

    def __init__(self, *ids: DocumentId) -> None:
        super().__init__(f"There is no document {_listed(ids)}")
        self.ids = ids


class DocumentExists(Conflict):
    """There are documents with these ids already, or with something else that only one may have."""

    code = "documents.exists"

    def __init__(self, *ids: DocumentId) -> None:
        super().__init__(f"There is a document {_listed(ids)} already")
        self.ids = ids


def _listed(ids: Iterable[DocumentId]) -> str:
    return ", ".join(str(document_id) for document_id in ids)
