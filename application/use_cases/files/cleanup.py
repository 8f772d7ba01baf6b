"""Jobs: abandoned uploads, objects of deleted files, and what table and bucket disagree about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from application.ports.object_store import ListedObject, ObjectStore
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import FilesSettings
from domain.files.content import MediaType
from domain.files.files import File, FileState

MARKER = ".portico"
"""The object that says to which installation the bucket belongs."""

_BATCH = 100
_PAGE = 1_000
_ORPHANED_AFTER = timedelta(hours=48)
_MOST_DELETED = 100
_LARGEST_SHARE = 0.01
_TEXT = MediaType("text/plain")


@dataclass(frozen=True, slots=True)
class ExpireUploads:
    """Give up uploads whose time is over. The cost grows with their number, not with that of all files."""

    uow: UnitOfWorkFactory
    clock: Clock

    async def __call__(self) -> int:
        """Return how many were given up."""
        given_up = 0
        while True:
            now = self.clock.now()
            async with self.uow() as uow:
                expired = await uow.files.lock_expired(at=now, limit=_BATCH)
                for file in expired:
                    file.abort(at=now, reason="expired")
                    await uow.files.save(file)
                await uow.commit()
            given_up += len(expired)
            if len(expired) < _BATCH:
                return given_up


@dataclass(frozen=True, slots=True)
class PurgeFiles:
    """Remove the objects of deleted files, and their rows once no object can come back.

    What fails is tried again, later and later, for ever. While the store is down nothing is tried after the first.
    """

    uow: UnitOfWorkFactory
    objects: ObjectStore
    clock: Clock

    async def __call__(self) -> int:
        """Return how many objects were removed; raise `Unavailable` if the store is down."""
        removed = 0
        while files := await self._begin():
            for file in files:
                await self.objects.purge(file.key)
                await self._end(file)
                removed += 1
        return removed

    async def _begin(self) -> Sequence[File]:
        now = self.clock.now()
        async with self.uow() as uow:
            files = await uow.files.lock_to_purge(at=now, limit=_BATCH)
            for file in files:
                file.begin_purge(at=now)
                await uow.files.save(file)
            await uow.commit()
        return files

    async def _end(self, begun: File) -> None:
        async with self.uow() as uow:
            file = await uow.files.lock(begun.id)
            if file is None:
                return
            if file.end_purge(at=self.clock.now()):
                await uow.files.remove(file.id)
            else:
                await uow.files.save(file)
            await uow.commit()


@dataclass(slots=True)
class Comparison:
    """What table and bucket disagree about, and what was done."""

    objects: int = 0
    """Objects in the bucket that look like ours."""
    orphans: list[str] = field(default_factory=list[str])
    """Keys of objects that belong to no file."""
    missing: list[str] = field(default_factory=list[str])
    """Keys of files that have no object."""
    deleted: int = 0
    refused: str = ""
    """Why no orphan was deleted, though there are some."""


@dataclass(frozen=True, slots=True)
class CompareFiles:
    """Compare the table with the bucket: both are read once, in the order of the keys.

    Orphans are deleted only if the settings say so, the bucket belongs to this database, and they are few: a database
    that was restored from yesterday, or points at another's bucket, would otherwise delete what is not its own.
    """

    uow: UnitOfWorkFactory
    objects: ObjectStore
    settings: FilesSettings
    clock: Clock

    async def __call__(self) -> Comparison:
        """Return what was found and done; raise `Unavailable`."""
        found = Comparison()
        before = self.clock.now() - _ORPHANED_AFTER
        after = ""
        while page := await self.objects.list_objects(after=after, limit=_PAGE):
            is_last = len(page) < _PAGE
            ours = [each for each in page if _is_ours(each.key)]
            found.objects += len(ours)
            await self._compare(found, ours, after, None if is_last else page[-1].key, before)
            if is_last:
                break
            after = page[-1].key
        else:
            await self._compare(found, [], after, None, before)
        if found.orphans:
            found.refused = await self._refusal(found)
            if not found.refused:
                await self._delete(found)
        return found

    async def _compare(
        self,
        found: Comparison,
        page: Sequence[ListedObject],
        after: str,
        until: str | None,
        before: datetime,
    ) -> None:
        rows = await self._rows(after if _is_ours(after) else "", until)
        known = {file.key for file in rows}
        there = {each.key for each in page}
        found.orphans += (
            each.key for each in page if each.key not in known and each.modified_at < before
        )
        for file in rows:
            is_stored = file.state is FileState.STORED and file.key not in there
            # Asked again: the list may be older than the file.
            if is_stored and await self.objects.head(file.key) is None:
                found.missing.append(file.key)

    async def _rows(self, after: str, until: str | None) -> Sequence[File]:
        rows: list[File] = []
        while True:
            async with self.uow() as uow:
                page = await uow.files.after_key(after, limit=_PAGE)
            rows += (file for file in page if until is None or file.key <= until)
            if len(page) < _PAGE or (until is not None and page[-1].key > until):
                return rows
            after = page[-1].key

    async def _refusal(self, found: Comparison) -> str:
        if not self.settings.delete_orphans:
            return "PORTICO_FILES_DELETE_ORPHANS is off"
        async with self.uow() as uow:
            installation = str(await uow.files.installation())
            await uow.commit()
        marker = await self.objects.head(MARKER)
        if marker is None:
            await self.objects.put(MARKER, installation.encode(), media_type=_TEXT)
            return "the bucket had no marker; it is marked now"
        content = await self.objects.read(MARKER, etag=marker.etag, limit=100)
        if content != installation.encode():
            return f"the bucket belongs to another database: see its object {MARKER}"
        if len(found.orphans) > min(_MOST_DELETED, max(1, _LARGEST_SHARE * found.objects)):
            return f"{len(found.orphans)} of {found.objects} objects are too many"
        return ""

    async def _delete(self, found: Comparison) -> None:
        for key in found.orphans:
            await self.objects.purge(key)
            found.deleted += 1


def _is_ours(key: str) -> bool:
    kind, _, ids = key.partition("/")
    owner, _, file = ids.partition("/")
    return kind == "users" and _is_id(owner) and _is_id(file)


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
