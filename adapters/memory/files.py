"""Files in memory."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID, uuid5

from adapters.memory.store import MemoryTable, MemoryTransaction
from application.paging import Cursor, Slice
from application.ports.files import FileRepository
from domain.files.files import File, FileId, FileState, Purpose, Usage
from domain.identity import UserId

_INSTALLATION = uuid5(UUID(int=0), "memory")


class MemoryFileRepository(FileRepository):
    """The files of one transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self._files: MemoryTable[FileId, File] = transaction.table(File)

    async def add(self, file: File) -> None:
        self._files.write(file.id, file)

    async def find(self, file_id: FileId) -> File | None:
        return self._files.find(file_id)

    async def lock(self, file_id: FileId) -> File | None:
        await self._transaction.lock(("file", file_id))
        return self._files.find(file_id)

    async def save(self, file: File) -> None:
        await self._transaction.lock(("file", file.id))
        self._files.write(file.id, file)

    async def remove(self, file_id: FileId) -> None:
        await self._transaction.lock(("file", file_id))
        self._files.remove(file_id)

    async def usage(self, owner: UserId) -> Usage:
        files = self._not_deleted(owner)
        return Usage(
            size=sum(file.size for file in files),
            files=len(files),
            pending=sum(file.state is FileState.PENDING for file in files),
        )

    async def of_owner(self, owner: UserId, *, after: Cursor | None, limit: int) -> Slice[File]:
        found = sorted(
            (file for file in self._not_deleted(owner) if file.purpose is Purpose.FILE),
            key=_place,
            reverse=True,
        )
        rest = [file for file in found if after is None or _place(file) < after]
        records = rest[:limit]
        return Slice(records, _place(records[-1]) if len(rest) > limit else None)

    async def avatar_of(self, owner: UserId) -> File | None:
        for file in self._not_deleted(owner):
            if file.purpose is Purpose.AVATAR and file.state is FileState.STORED:
                return file
        return None

    async def delete_all_of(self, owner: UserId, *, at: datetime) -> None:
        for each in self._not_deleted(owner):
            file = await self.lock(each.id)
            if file is not None:
                file.delete(at=at, reason="owner_deleted")
                self._files.write(file.id, file)

    async def lock_expired(self, *, at: datetime, limit: int) -> Sequence[File]:
        return await self._lock_free(
            lambda file: (
                file.state is FileState.PENDING
                and file.expires_at <= at
                and (file.claimed_until is None or file.claimed_until <= at)
            ),
            limit,
        )

    async def lock_to_purge(self, *, at: datetime, limit: int) -> Sequence[File]:
        return await self._lock_free(
            lambda file: (
                file.state is FileState.DELETED
                and file.purge_at is not None
                and file.purge_at <= at
            ),
            limit,
        )

    async def after_key(self, key: str, *, limit: int) -> Sequence[File]:
        found = self._files.where(lambda file: file.key > key)
        return sorted(found, key=lambda file: file.key)[:limit]

    async def installation(self) -> UUID:
        return _INSTALLATION

    def _not_deleted(self, owner: UserId) -> list[File]:
        return self._files.where(
            lambda file: file.owner == owner and file.state is not FileState.DELETED
        )

    async def _lock_free(self, condition: Callable[[File], bool], limit: int) -> Sequence[File]:
        found = self._files.where(
            lambda file: condition(file) and self._transaction.is_free(("file", file.id))
        )[:limit]
        await self._transaction.lock(*(("file", file.id) for file in found))
        return found


def _place(file: File) -> Cursor:
    return Cursor(file.created_at, file.id)
