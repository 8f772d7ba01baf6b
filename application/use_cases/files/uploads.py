"""Uploads: begin one, sign its parts, see what has arrived, abort it."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.keyed_lock import KeyedLock
from application.ports.object_store import ObjectStore, SignedRequest, UploadNotFound
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import FilesSettings
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller, lock_caller
from application.use_cases.files.access import find_file, lock_file
from domain.errors import PorticoError
from domain.files.content import MediaType
from domain.files.errors import InvalidFile, NotInParts
from domain.files.files import (
    Checksum,
    File,
    FileId,
    FileName,
    Part,
    Visibility,
    part_size_for,
)

SIGNED_AT_FIRST = 20
"""How many parts are signed when an upload begins."""
MOST_SIGNED = 100
"""How many parts may be signed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDraft:
    """The file to upload; its size in bytes."""

    name: FileName
    media_type: MediaType
    size: int
    checksum: Checksum | None = None
    visibility: Visibility = Visibility.PRIVATE


@dataclass(frozen=True, slots=True)
class SignedPart:
    """The request that sends one part, and the size of the part in bytes."""

    number: int
    size: int
    request: SignedRequest


@dataclass(frozen=True, slots=True)
class StartedUpload:
    """A file, and the request that uploads it, or the first ones of those that upload its parts."""

    file: File
    request: SignedRequest | None
    parts: Sequence[SignedPart] = ()


@dataclass(frozen=True, slots=True)
class StartUpload:
    """Reserve room for a file, and let the client upload it to the store."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    objects: ObjectStore
    settings: FilesSettings
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit
    one_at_a_time: KeyedLock

    async def __call__(self, caller: Caller, draft: FileDraft) -> StartedUpload:
        """Raise `InvalidFile` or `QuotaExceeded`."""
        self._check(draft)
        now = self.clock.now()
        file = File(
            id=FileId(self.ids.new()),
            owner=caller.user_id,
            name=draft.name,
            media_type=draft.media_type,
            size=draft.size,
            checksum=draft.checksum,
            visibility=draft.visibility,
            part_size=part_size_for(draft.size),
            created_at=now,
            expires_at=now + self.settings.upload_lifetime,
            urls_until=now + self.settings.url_lifetime,
        )
        await self._reserve(caller, file)
        try:
            return await self._start(file)
        except PorticoError:
            # Marked, not removed: the store may have begun the upload all the same.
            async with self.uow() as uow:
                file.delete(at=self.clock.now(), reason="not_started")
                await uow.files.save(file)
                await uow.commit()
            raise

    def _check(self, draft: FileDraft) -> None:
        if draft.media_type.value not in self.settings.types:
            raise InvalidFile("Files of this type are not accepted", field="content_type")
        if not 1 <= draft.size <= self.settings.max_size:
            raise InvalidFile(f"A file has 1 to {self.settings.max_size} bytes", field="size")
        in_parts = part_size_for(draft.size) is not None
        if in_parts and draft.checksum is not None and draft.checksum.algorithm != "crc32":
            raise InvalidFile(
                "A file of this size is uploaded in parts: send crc32", field="checksum"
            )

    async def _reserve(self, caller: Caller, file: File) -> None:
        """Store the row, which is the reservation: uploads of one user are begun one after the other."""
        async with self.one_at_a_time(caller.user_id), self.uow() as uow:
            await uow.roles.lock_access()
            await lock_caller(uow, caller)
            await self.authorize(uow, caller)
            usage = await uow.files.usage(caller.user_id)
            self.settings.user_quota.check(usage, more=file.size)
            await uow.files.add(file)
            await self.audit(
                uow,
                "files.upload_started",
                caller.client,
                actor=caller.user_id,
                target=f"file:{file.id}",
                details={
                    "name": file.name.value,
                    "contentType": file.media_type.value,
                    "size": file.size,
                    "visibility": file.visibility.value,
                },
            )
            await uow.commit()

    async def _start(self, file: File) -> StartedUpload:
        lifetime = self.settings.url_lifetime
        if file.part_size is None:
            # Nothing to do there yet, but clients should not upload to a store that is down.
            await self.objects.head(file.key)
            request = await self.objects.sign_put(
                file.key,
                size=file.size,
                media_type=file.media_type,
                checksum=file.checksum,
                lifetime=lifetime,
            )
            return StartedUpload(file, request)
        upload_id = await self.objects.start_upload(
            file.key, media_type=file.media_type, checksum=file.checksum
        )
        async with self.uow() as uow:
            file = await lock_file(uow, file.id, owner=file.owner)
            file.check_open()
            file.upload_id = upload_id
            await uow.files.save(file)
            await uow.commit()
        numbers = range(1, min(file.part_count, SIGNED_AT_FIRST) + 1)
        parts = [await _sign(self.objects, file, upload_id, n, self.settings) for n in numbers]
        return StartedUpload(file, None, parts)


@dataclass(frozen=True, slots=True)
class SignParts:
    """Sign further parts, or the same ones again, because their URLs have expired."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    objects: ObjectStore
    settings: FilesSettings
    clock: Clock

    async def __call__(
        self, caller: Caller, file_id: FileId, numbers: Sequence[int]
    ) -> Sequence[SignedPart]:
        """Raise `FileNotFound`, `UploadDone`, `NotInParts`, or `InvalidFile` if there is no such part."""
        async with self.uow() as uow:
            await uow.roles.lock_access()
            file = await lock_file(uow, file_id, owner=caller.user_id)
            await self.authorize(uow, caller)
            file.check_open()
            for number in numbers:
                file.size_of_part(number)
            upload_id = _upload_of(file)
            file.sign(
                at=self.clock.now(),
                urls=self.settings.url_lifetime,
                upload=self.settings.upload_lifetime,
            )
            await uow.files.save(file)
            await uow.commit()
        return [await _sign(self.objects, file, upload_id, n, self.settings) for n in numbers]


@dataclass(frozen=True, slots=True)
class ListParts:
    """List the parts that have arrived."""

    uow: UnitOfWorkFactory
    objects: ObjectStore

    async def __call__(self, caller: Caller, file_id: FileId) -> Sequence[Part]:
        """Return each part once; raise `FileNotFound`, `UploadDone` or `NotInParts`."""
        async with self.uow() as uow:
            file = await find_file(uow, file_id, owner=caller.user_id)
        file.check_open()
        upload_id = _upload_of(file)
        try:
            return await self.objects.list_parts(file.key, upload_id)
        except UploadNotFound:  # it is just becoming a file
            return []


@dataclass(frozen=True, slots=True)
class AbortUpload:
    """Give up an upload; what has arrived of it is removed by a job."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    clock: Clock
    audit: RecordAudit

    async def __call__(self, caller: Caller, file_id: FileId) -> None:
        """Raise `FileNotFound`, `UploadDone`, or `UploadBusy` while it is being completed."""
        async with self.uow() as uow:
            await uow.roles.lock_access()
            file = await lock_file(uow, file_id, owner=caller.user_id)
            await self.authorize(uow, caller)
            file.abort(at=self.clock.now())
            await uow.files.save(file)
            await self.audit(
                uow,
                "files.upload_aborted",
                caller.client,
                actor=caller.user_id,
                target=f"file:{file.id}",
            )
            await uow.commit()


async def _sign(
    objects: ObjectStore, file: File, upload_id: str, number: int, settings: FilesSettings
) -> SignedPart:
    size = file.size_of_part(number)
    request = await objects.sign_part(
        file.key, upload_id, number, size=size, lifetime=settings.url_lifetime
    )
    return SignedPart(number, size, request)


def _upload_of(file: File) -> str:
    if file.part_size is None or file.upload_id is None:
        raise NotInParts
    return file.upload_id
