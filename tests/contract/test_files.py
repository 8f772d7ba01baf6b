"""`FileRepository` keeps its promises in memory and in PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from application.paging import Cursor
from application.ports.unit_of_work import UnitOfWorkFactory
from domain.files.content import MediaType
from domain.files.files import (
    Checksum,
    File,
    FileId,
    FileName,
    FileState,
    Purpose,
    Usage,
    Visibility,
)
from domain.identity import UserId
from tests.support.builders import A_MOMENT, a_file, a_user
from tests.support.clock import SECOND

ADA, BEN = a_user(), a_user()
A_MINUTE = timedelta(minutes=1)


async def given(uow: UnitOfWorkFactory, *files: File) -> None:
    async with uow() as work:
        for file in files:
            await work.files.add(file)
        await work.commit()


def stored(owner: UserId, **changes: object) -> File:
    file = a_file(owner)
    for name, value in changes.items():
        setattr(file, name, value)
    file.store("etag", at=A_MOMENT)
    return file


def deleted(owner: UserId) -> File:
    file = a_file(owner)
    file.delete(at=A_MOMENT)
    return file


async def test_a_file_is_found_as_it_was_stored(uow: UnitOfWorkFactory) -> None:
    file = File(
        id=FileId(UUID(int=7)),
        owner=ADA.id,
        name=FileName("a\u200fb 🙂.png"),
        media_type=MediaType("image/png"),
        size=2**40,
        created_at=A_MOMENT,
        expires_at=A_MOMENT + A_MINUTE,
        urls_until=A_MOMENT + SECOND,
        visibility=Visibility.SHARED,
        purpose=Purpose.AVATAR,
        checksum=Checksum("crc32:AAAAAA=="),
        part_size=8,
        upload_id="upload",
        claim=UUID(int=8),
        claimed_until=A_MOMENT,
        etag="etag",
        stored_at=A_MOMENT,
        deleted_at=A_MOMENT,
        state=FileState.DELETED,
        reason="aborted",
        attempts=3,
        purge_at=A_MOMENT,
    )
    await given(uow, file)

    async with uow() as work:
        assert await work.files.find(file.id) == file
        assert await work.files.find(FileId(UUID(int=9))) is None


async def test_a_saved_file_is_changed(uow: UnitOfWorkFactory) -> None:
    file = a_file(ADA.id)
    await given(uow, file)

    async with uow() as work:
        locked = await work.files.lock(file.id)
        assert locked is not None
        locked.store("etag", at=A_MOMENT)
        await work.files.save(locked)
        await work.commit()

    async with uow() as work:
        found = await work.files.find(file.id)
    assert found == locked


async def test_a_removed_file_is_gone(uow: UnitOfWorkFactory) -> None:
    file = a_file(ADA.id)
    await given(uow, file)

    async with uow() as work:
        await work.files.lock(file.id)
        await work.files.remove(file.id)
        await work.commit()

    async with uow() as work:
        assert await work.files.lock(file.id) is None


async def test_usage_counts_what_is_not_deleted(uow: UnitOfWorkFactory) -> None:
    await given(
        uow,
        replace(a_file(ADA.id), size=1),
        stored(ADA.id, size=10),
        stored(ADA.id, size=100, purpose=Purpose.AVATAR),
        deleted(ADA.id),
        stored(BEN.id, size=1000),
    )

    async with uow() as work:
        assert await work.files.usage(ADA.id) == Usage(size=111, files=3, pending=1)
        assert await work.files.usage(UserId(UUID(int=1))) == Usage()


async def test_a_quota_holds_if_the_owner_is_locked_first(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        await work.users.add(ADA)
        await work.commit()

    async def start() -> bool:
        async with uow() as work:
            await work.users.lock(ADA.id)
            if (await work.files.usage(ADA.id)).files >= 5:
                return False
            await asyncio.sleep(0)
            await work.files.add(a_file(ADA.id))
            await work.commit()
            return True

    started = await asyncio.gather(*(start() for _ in range(20)))

    assert sum(started) == 5


async def test_files_of_an_owner_are_listed_newest_first(uow: UnitOfWorkFactory) -> None:
    files = [replace(a_file(ADA.id), created_at=A_MOMENT + n // 2 * SECOND) for n in range(7)]
    await given(
        uow, *files, deleted(ADA.id), stored(ADA.id, purpose=Purpose.AVATAR), a_file(BEN.id)
    )

    found: list[File] = []
    after: Cursor | None = None
    while True:
        async with uow() as work:
            page = await work.files.of_owner(ADA.id, after=after, limit=3)
        found += page.records
        after = page.next
        if after is None:
            break

    assert [file.id for file in found] == [
        file.id for file in sorted(files, key=lambda file: (file.created_at, file.id), reverse=True)
    ]


async def test_the_avatar_of_a_user_is_the_stored_one(uow: UnitOfWorkFactory) -> None:
    avatar = stored(ADA.id, purpose=Purpose.AVATAR)
    await given(uow, stored(ADA.id), replace(a_file(ADA.id), purpose=Purpose.AVATAR), avatar)

    async with uow() as work:
        assert await work.files.avatar_of(ADA.id) == avatar
        assert await work.files.avatar_of(BEN.id) is None


async def test_all_files_of_a_user_are_deleted_together(uow: UnitOfWorkFactory) -> None:
    busy = a_file(ADA.id)
    busy.claim_completion(UUID(int=1), at=A_MOMENT)
    mine, others = [busy, stored(ADA.id)], stored(BEN.id)
    before = deleted(ADA.id)
    await given(uow, *mine, others, before)

    async with uow() as work:
        await work.files.delete_all_of(ADA.id, at=A_MOMENT + SECOND)
        await work.commit()

    for file in mine:
        file.delete(at=A_MOMENT + SECOND, reason="owner_deleted")
    async with uow() as work:
        for file in (*mine, others, before):
            assert await work.files.find(file.id) == file


async def test_expired_uploads_are_found_unless_they_are_being_completed(
    uow: UnitOfWorkFactory,
) -> None:
    expired, busy, fresh, done = a_file(ADA.id), a_file(ADA.id), a_file(ADA.id), stored(ADA.id)
    for file in (expired, busy, done):
        file.expires_at = A_MOMENT
    busy.claim_completion(UUID(int=1), at=A_MOMENT)
    await given(uow, expired, busy, fresh, done)

    async with uow() as one, uow() as other:
        assert await one.files.lock_expired(at=A_MOMENT, limit=10) == [expired]
        assert await other.files.lock_expired(at=A_MOMENT, limit=10) == []
    async with uow() as work:
        later = await work.files.lock_expired(at=A_MOMENT + 2 * A_MINUTE, limit=1)
    assert len(later) == 1


async def test_deleted_files_are_found_when_their_time_has_come(uow: UnitOfWorkFactory) -> None:
    due, later, pending = deleted(ADA.id), deleted(ADA.id), a_file(ADA.id)
    later.purge_at = A_MOMENT + SECOND
    await given(uow, due, later, pending)

    async with uow() as one, uow() as other:
        assert await one.files.lock_to_purge(at=A_MOMENT, limit=10) == [due]
        assert await other.files.lock_to_purge(at=A_MOMENT, limit=10) == []


async def test_files_are_read_in_the_order_of_their_keys(uow: UnitOfWorkFactory) -> None:
    files = [a_file(owner) for owner in (BEN.id, ADA.id, BEN.id, ADA.id)]
    files.append(deleted(ADA.id))
    await given(uow, *files)
    keys = sorted(file.key for file in files)

    async with uow() as work:
        first = await work.files.after_key("", limit=2)
        rest = await work.files.after_key(first[-1].key, limit=10)

    assert [file.key for file in first] == keys[:2]
    assert [file.key for file in rest] == keys[2:]


async def test_an_installation_has_one_id(uow: UnitOfWorkFactory) -> None:
    async def ask() -> UUID:
        async with uow() as work:
            found = await work.files.installation()
            await work.commit()
            return found

    assert len({*await asyncio.gather(*(ask() for _ in range(5)))}) == 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "🙂" * 256, "a\u200fb", "x" * 1000])
async def test_every_name_can_be_stored(uow: UnitOfWorkFactory, name: str) -> None:
    file = replace(a_file(ADA.id), name=FileName(name))
    await given(uow, file)

    async with uow() as work:
        assert await work.files.find(file.id) == file
