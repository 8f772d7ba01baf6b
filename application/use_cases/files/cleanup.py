"""Jobs: abandoned uploads, objects of deleted files, and what table and bucket disagree about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from application.ports.object_store import ListedObject, ObjectStore
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import FilesSettings
from domain.errors import Unavailable
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

    What fails is tried again, later and later, for ever, and holds no other file up. While the store is down nothing is
    tried after the first.
    """

    uow: UnitOfWorkFactory
    objects: ObjectStore
    clock: Clock

    async def __call__(self) -> int:
        """Return how many objects were removed; raise `Unavailable` if some were not."""
        removed = 0
        failure: Unavailable | None = None
        while file := await self._begin():
            try:
                await self.objects.purge(file.key)
            except Unavailable as error:
                failure = error
                await self.objects.head(MARKER)  # the store is down, unless it is only this object
                continue
            await self._end(file)
            removed += 1
        if failure is not None:
            raise failure
        return removed

    async def _begin(self) -> File | None:
        """Return the next file, noting that it is tried; one by one, so that no other waits for it."""
        now = self.clock.now()
        async with self.uow() as uow:
            files = await uow.files.lock_to_purge(at=now, limit=1)
            for file in files:
                file.begin_purge(at=now)
                await uow.files.save(file)
            await uow.commit()
        return files[0] if files else None

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
        after = row = ""
        is_last = False
        while not is_last:
            page = await self.objects.list_objects(after=after, limit=_PAGE)
            is_last = len(page) < _PAGE
            after = page[-1].key if page else after
            ours = [each for each in page if _is_ours(each.key)]
            found.objects += len(ours)
            row = await self._compare(found, ours, row, None if is_last else after, before)
        if found.orphans:
            found.refused = await self._refusal(found)
            if not found.refused:
                await self._delete(found)
        return found

    async def _compare(
        self,
        found: Comparison,
        page: Sequence[ListedObject],
        row: str,
        until: str | None,
        before: datetime,
    ) -> str:
        """Compare a page of the bucket with the rows after `row`, up to the key `until`; return the last one's key.

        The rows are read after the page: a row is older than its object.
        """
        there = {each.key: each for each in page}
        stored: list[str] = []
        is_done = False
        while not is_done:
            async with self.uow() as uow:
                files = await uow.files.after_key(row, limit=_PAGE)
            is_done = len(files) < _PAGE
            for file in files:
                if until is not None and file.key > until:
                    is_done = True
                    break
                row = file.key
                if there.pop(row, None) is None and file.state is FileState.STORED:
                    stored.append(row)
        found.orphans += (key for key, each in there.items() if each.modified_at < before)
        for key in stored:
            # Asked again: the list may be older than the file.
            if await self.objects.head(key) is None:
                found.missing.append(key)
        return row

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
