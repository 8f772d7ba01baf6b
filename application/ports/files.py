"""Files of one unit of work."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from application.paging import Cursor, Slice
from domain.files.files import File, FileId, Usage
from domain.identity import UserId


class FileRepository(Protocol):
    """Files of one unit of work. All methods return copies."""

    async def add(self, file: File) -> None:
        """Store a new file."""
        ...

    async def find(self, file_id: FileId) -> File | None:
        """Return the file, deleted ones too, or None."""
        ...

    async def lock(self, file_id: FileId) -> File | None:
        """Lock the file against other units of work and return it, deleted ones too, or None."""
        ...

    async def save(self, file: File) -> None:
        """Store every field of a locked file."""
        ...

    async def remove(self, file_id: FileId) -> None:
        """Forget a locked file."""
        ...

    async def usage(self, owner: UserId) -> Usage:
        """Return what a user has reserved. Exact if every unit of work that adds files locks the owner first."""
        ...

    async def of_owner(self, owner: UserId, *, after: Cursor | None, limit: int) -> Slice[File]:
        """Return at most `limit` files of a user that are not deleted, newest first; no avatars."""
        ...

    async def avatar_of(self, owner: UserId) -> File | None:
        """Return the stored avatar of a user."""
        ...

    async def delete_all_of(self, owner: UserId, *, at: datetime) -> None:
        """Delete every file of a user as `File.delete` does."""
        ...

    async def lock_expired(self, *, at: datetime, limit: int) -> Sequence[File]:
        """Lock and return open uploads that expired and are not being completed, but none that others have locked."""
        ...

    async def lock_to_purge(self, *, at: datetime, limit: int) -> Sequence[File]:
        """Lock and return deleted files whose `purge_at` has come, but none that others have locked."""
        ...

    async def after_key(self, key: str, *, limit: int) -> Sequence[File]:
        """Return the `limit` files, deleted ones too, whose keys follow `key`, in the order of the keys."""
        ...

    async def installation(self) -> UUID:
        """Return the id of this store, made at the first call; it tells which buckets belong to the store."""
        ...
