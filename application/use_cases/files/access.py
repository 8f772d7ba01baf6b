"""Whose files a caller sees."""

from application.ports.unit_of_work import UnitOfWork
from application.use_cases.caller import Caller
from domain.files.errors import FileNotFound
from domain.files.files import File, FileId, FileState, Visibility
from domain.identity import UserId


async def find_file(uow: UnitOfWork, file_id: FileId, *, owner: UserId) -> File:
    """Return a file of `owner`; raise `FileNotFound`, also for files of others."""
    return _of(await uow.files.find(file_id), owner)


async def lock_file(uow: UnitOfWork, file_id: FileId, *, owner: UserId) -> File:
    """Lock and return a file of `owner`; raise `FileNotFound`, also for files of others."""
    return _of(await uow.files.lock(file_id), owner)


async def find_visible_file(uow: UnitOfWork, file_id: FileId, caller: Caller) -> File:
    """Return a file that the caller may see: their own, or a shared one; raise `FileNotFound`."""
    file = await uow.files.find(file_id)
    is_shared = file is not None and file.visibility is Visibility.SHARED
    if file is not None and is_shared and file.state is FileState.STORED:
        return file
    return _of(file, caller.user_id)


def _of(file: File | None, owner: UserId) -> File:
    if file is None or file.owner != owner or file.state is FileState.DELETED:
        raise FileNotFound
    return file
