"""Completion: an upload becomes a file once the store has exactly what was announced."""

from dataclasses import dataclass

from application.ports.object_store import ObjectInfo, ObjectStore, UploadNotFound
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWorkFactory
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller
from application.use_cases.files.access import lock_file
from domain.audit_log import AuditOutcome
from domain.errors import Unavailable
from domain.files.content import LOOKED_AT
from domain.files.errors import (
    ChecksumMismatch,
    ContentMismatch,
    FileNotFound,
    NotUploaded,
    SizeMismatch,
    UploadRejected,
)
from domain.files.files import File, FileId, FileState, etag_of_parts


@dataclass(frozen=True, slots=True)
class CompleteUpload:
    """Verify an upload, and make it a file that can be downloaded.

    The store arbitrates nothing: who meets whom is decided by the row. A claim on it keeps others out while the
    store is asked; it ends after a minute, if the process that has it dies.
    """

    uow: UnitOfWorkFactory
    authorize: Authorize
    objects: ObjectStore
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit

    async def __call__(self, caller: Caller, file_id: FileId) -> File:
        """Return the stored file, also if this has happened before.

        Raise `FileNotFound`; `UploadBusy` while another request completes it; `PartsMissing` or `NotUploaded` if it
        cannot be completed yet; `UploadRejected` if something else was uploaded, which deletes it.
        """
        claim = self.ids.new()
        async with self.uow() as uow:
            await uow.roles.lock_access()
            file = await lock_file(uow, file_id, owner=caller.user_id)
            await self.authorize(uow, caller)
            if file.state is FileState.STORED:
                return file
            file.claim_completion(claim, at=self.clock.now())
            await uow.files.save(file)
            await uow.commit()
        try:
            etag = await self._verify(file)
        except UploadRejected as rejection:
            await self._end(caller, file, rejection)
            raise
        except BaseException:
            await self._release(file)
            raise
        return await self._store(caller, file, etag)

    async def _verify(self, file: File) -> str:
        """Return the version of the object, which is what was announced; else raise."""
        if file.upload_id is not None:
            await self._finish(file, file.upload_id)
        found = await self.objects.head(file.key)
        if found is None or (file.part_size is not None and file.etag is None):
            raise NotUploaded
        _check(file, found)
        head = await self.objects.read(file.key, etag=found.etag, limit=LOOKED_AT)
        if head is None:
            raise NotUploaded  # it is another one by now, or gone
        if not file.media_type.begins_like(head):
            raise ContentMismatch(f"This is not {file.media_type.value}")
        return found.etag

    async def _finish(self, file: File, upload_id: str) -> None:
        try:
            parts = await self.objects.list_parts(file.key, upload_id)
            file.check_parts(parts)
            # Known before the store knows: if this process ends now, the next one can still tell the object of this
            # upload from any other.
            file.etag = etag_of_parts(parts)
            await self._save(file)
            await self.objects.finish_upload(file.key, upload_id, parts, checksum=file.checksum)
        except UploadNotFound:
            return  # an earlier request finished it, and its answer was lost: the object shows that

    async def _save(self, file: File) -> None:
        async with self.uow() as uow:
            stored = await uow.files.lock(file.id)
            if stored is None or file.claim is None or not stored.holds(file.claim):
                raise FileNotFound
            await uow.files.save(file)
            await uow.commit()

    async def _store(self, caller: Caller, file: File, etag: str) -> File:
        async with self.uow() as uow:
            stored = await uow.files.lock(file.id)
            if stored is None or file.claim is None or not stored.holds(file.claim):
                raise FileNotFound
            stored.store(etag, at=self.clock.now())
            await uow.files.save(stored)
            await self.audit(
                uow,
                "files.stored",
                caller.client,
                actor=caller.user_id,
                target=f"file:{file.id}",
                details={"name": file.name.value, "size": file.size},
            )
            await uow.commit()
        return stored

    async def _release(self, file: File) -> None:
        async with self.uow() as uow:
            stored = await uow.files.lock(file.id)
            if stored is not None and file.claim is not None and stored.holds(file.claim):
                stored.release()
                await uow.files.save(stored)
                await uow.commit()

    async def _end(self, caller: Caller, file: File, rejection: UploadRejected) -> None:
        async with self.uow() as uow:
            stored = await uow.files.lock(file.id)
            if stored is None or file.claim is None or not stored.holds(file.claim):
                return
            stored.delete(at=self.clock.now(), reason=rejection.code)
            await uow.files.save(stored)
            await self.audit(
                uow,
                "files.upload_rejected",
                caller.client,
                actor=caller.user_id,
                target=f"file:{file.id}",
                outcome=AuditOutcome.FAILURE,
                details={"reason": rejection.code},
            )
            await uow.commit()
        try:
            await self.objects.purge(file.key)
        except Unavailable:
            return  # the job does it


def _check(file: File, found: ObjectInfo) -> None:
    if found.size != file.size:
        raise SizeMismatch(f"This has {found.size} bytes instead of {file.size}")
    if file.part_size is not None and found.etag != file.etag:
        raise ContentMismatch("The object is not the one that the parts make")
    if found.media_type != file.media_type.value:
        raise ContentMismatch("The object has another content type than announced")
    if found.unsigned:
        raise ContentMismatch(
            f"The object has properties that were not announced: {found.unsigned[0]}"
        )
    if file.checksum is not None and file.checksum.value not in found.checksums:
        raise ChecksumMismatch("The object has another checksum than announced")
