"""The avatar of a user: the one file whose bytes pass through the service, to be made anew."""

from dataclasses import dataclass

from application.ports.avatar_images import AvatarImages
from application.ports.object_store import ObjectStore
from application.ports.system import Clock, IdGenerator
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import FilesSettings
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller, lock_caller
from domain.errors import PorticoError
from domain.files.content import MediaType
from domain.files.errors import FileNotFound
from domain.files.files import File, FileId, FileName, FileState, Purpose, Visibility

_WEBP = MediaType("image/webp")
_NAME = FileName("avatar.webp")


@dataclass(frozen=True, slots=True)
class GetAvatar:
    """Get what is known of the caller's avatar."""

    uow: UnitOfWorkFactory

    async def __call__(self, caller: Caller) -> File:
        """Raise `FileNotFound` if there is none."""
        async with self.uow() as uow:
            file = await uow.files.avatar_of(caller.user_id)
        if file is None:
            raise FileNotFound
        return file


@dataclass(frozen=True, slots=True)
class SetAvatar:
    """Make an image the avatar of the caller. Every user who knows its id may see it."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    images: AvatarImages
    objects: ObjectStore
    settings: FilesSettings
    clock: Clock
    ids: IdGenerator
    audit: RecordAudit

    async def __call__(self, caller: Caller, content: bytes) -> File:
        """Return the new avatar, in place of the old one; raise `NotAnImage` or `QuotaExceeded`."""
        image = await self.images.encode(content)
        now = self.clock.now()
        file = File(
            id=FileId(self.ids.new()),
            owner=caller.user_id,
            name=_NAME,
            media_type=_WEBP,
            size=len(image),
            purpose=Purpose.AVATAR,
            visibility=Visibility.SHARED,
            created_at=now,
            expires_at=now + self.settings.upload_lifetime,
            urls_until=now,
        )
        async with self.uow() as uow:
            await uow.roles.lock_access()
            await lock_caller(uow, caller)
            await self.authorize(uow, caller)
            self.settings.user_quota.check(await uow.files.usage(caller.user_id), more=file.size)
            await uow.files.add(file)
            await uow.commit()
        try:
            etag = await self.objects.put(file.key, image, media_type=_WEBP)
        except PorticoError:
            await self._give_up(file)
            raise
        return await self._replace(caller, file, etag)

    async def _replace(self, caller: Caller, file: File, etag: str) -> File:
        now = self.clock.now()
        async with self.uow() as uow:
            await lock_caller(uow, caller)  # of several at once the last one stays
            old = await uow.files.avatar_of(caller.user_id)
            if old is not None:
                old.delete(at=now, reason="replaced")
                await uow.files.save(old)
            stored = await uow.files.lock(file.id)
            if stored is None or stored.state is not FileState.PENDING:
                raise FileNotFound
            stored.store(etag, at=now)
            await uow.files.save(stored)
            await self.audit(
                uow,
                "files.avatar_set",
                caller.client,
                actor=caller.user_id,
                target=f"file:{file.id}",
            )
            await uow.commit()
        return stored

    async def _give_up(self, file: File) -> None:
        file.delete(at=self.clock.now(), reason="not_started")
        async with self.uow() as uow:
            await uow.files.save(file)
            await uow.commit()
