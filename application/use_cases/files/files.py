"""Files that are there: list, see, download and delete them."""

from dataclasses import dataclass
from urllib.parse import quote

from application.paging import Cursor, Slice
from application.ports.object_store import ObjectStore
from application.ports.system import Clock
from application.ports.unit_of_work import UnitOfWorkFactory
from application.settings import FilesSettings
from application.use_cases.access.guard import Authorize
from application.use_cases.audit_log import RecordAudit
from application.use_cases.caller import Caller
from application.use_cases.files.access import find_file, find_visible_file, lock_file
from domain.files.files import File, FileId
from domain.identity import UserId, UserNotFound


@dataclass(frozen=True, slots=True)
class ListFiles:
    """List the files of a user, newest first, open uploads too."""

    uow: UnitOfWorkFactory

    async def __call__(self, owner: UserId, *, after: Cursor | None, limit: int) -> Slice[File]:
        """Raise `UserNotFound`."""
        async with self.uow() as uow:
            if await uow.users.find(owner) is None:
                raise UserNotFound(owner)
            return await uow.files.of_owner(owner, after=after, limit=limit)


@dataclass(frozen=True, slots=True)
class GetFile:
    """See what is known of a file: one's own, a shared one, or one of a given owner."""

    uow: UnitOfWorkFactory

    async def __call__(
        self, caller: Caller, file_id: FileId, *, owner: UserId | None = None
    ) -> File:
        """Raise `FileNotFound`. Naming an owner needs the permission of the route."""
        async with self.uow() as uow:
            if owner is not None:
                return await find_file(uow, file_id, owner=owner)
            return await find_visible_file(uow, file_id, caller)


@dataclass(frozen=True, slots=True)
class GetDownload:
    """Let a caller download a file from the store for a few minutes."""

    get_file: GetFile
    objects: ObjectStore
    settings: FilesSettings

    async def __call__(
        self, caller: Caller, file_id: FileId, *, inline: bool = False, owner: UserId | None = None
    ) -> str:
        """Return a URL; raise `FileNotFound` or `NotStored`. What a browser might execute is never shown inline."""
        file = await self.get_file(caller, file_id, owner=owner)
        file.check_stored()
        kind = "inline" if inline and file.media_type.may_be_shown else "attachment"
        request = await self.objects.sign_get(
            file.key,
            media_type=file.media_type,
            disposition=f"{kind}; {_parameters(file.name.value)}",
            lifetime=self.settings.download_lifetime,
        )
        return request.url


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Delete a file, or an upload in any state; a job removes the object."""

    uow: UnitOfWorkFactory
    authorize: Authorize
    clock: Clock
    audit: RecordAudit

    async def __call__(
        self, caller: Caller, file_id: FileId, *, owner: UserId | None = None
    ) -> None:
        """Raise `FileNotFound`. Naming an owner needs the permission of the route."""
        async with self.uow() as uow:
            await uow.roles.lock_access()
            file = await lock_file(uow, file_id, owner=owner or caller.user_id)
            await self.authorize(uow, caller)
            file.delete(at=self.clock.now())
            await uow.files.save(file)
            await self.audit(
                uow,
                "files.deleted",
                caller.client,
                actor=caller.user_id,
                target=f"file:{file.id}",
                details={"name": file.name.value, "size": file.size, "owner": str(file.owner)},
            )
            await uow.commit()


_LONGEST_FALLBACK = 100
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .-_()")


def _parameters(name: str) -> str:
    """Return the name for Content-Disposition (RFC 6266): for old clients in ASCII, and exactly, encoded (RFC 8187)."""
    plain = "".join(character if character in _PLAIN else "_" for character in name)
    exact = quote(name, safe="!#$&+.^_`|~-")
    return f"filename=\"{plain[:_LONGEST_FALLBACK]}\"; filename*=UTF-8''{exact}"
