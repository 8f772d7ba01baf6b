"""Files in the table `files`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    Index,
    Integer,
    Row,
    SmallInteger,
    Table,
    Text,
    Uuid,
    and_,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from adapters.postgres.table_gateway import OrderBy, TableGateway
from adapters.postgres.tables import metadata
from adapters.postgres.transaction import Transaction
from application.paging import Cursor, Slice
from application.ports.files import FileRepository
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

files = Table(
    "files",
    metadata,
    Column("id", Uuid, primary_key=True),
    # No foreign key: the row outlives its owner, until the object is removed.
    Column("owner", Uuid, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("visibility", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("checksum", Text),
    Column("state", Text, nullable=False),
    Column("part_size", Integer),
    Column("upload_id", Text),
    Column("claim", Uuid),
    Column("claimed_until", DateTime(timezone=True)),
    Column("etag", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("urls_until", DateTime(timezone=True), nullable=False),
    Column("stored_at", DateTime(timezone=True)),
    Column("deleted_at", DateTime(timezone=True)),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("purge_at", DateTime(timezone=True)),
    CheckConstraint("state IN ('pending', 'stored', 'deleted')", name="state"),
    CheckConstraint("purpose IN ('file', 'avatar')", name="purpose"),
    CheckConstraint("visibility IN ('private', 'shared')", name="visibility"),
    CheckConstraint("size > 0", name="size"),
    CheckConstraint("state <> 'stored' OR etag IS NOT NULL", name="stored_has_etag"),
    CheckConstraint("(state = 'deleted') = (purge_at IS NOT NULL)", name="deleted_is_purged"),
    # In the order of the keys, which the comparison with the bucket walks.
    Index("ix_files_owner_id", "owner", "id"),
)


def _is(state: FileState) -> ColumnElement[bool]:
    # A literal, not a parameter: with a parameter the planner cannot tell that a partial index applies.
    return files.c.state == literal(state.value, literal_execute=True)


_not_deleted = files.c.state != literal(FileState.DELETED.value, literal_execute=True)

# With all that a quota needs: the sum reads the index alone.
Index(
    "ix_files_usage",
    files.c.owner,
    files.c.created_at,
    files.c.id,
    postgresql_include=["size", "state", "purpose"],
    postgresql_where=_not_deleted,
)
Index("ix_files_expires_at", files.c.expires_at, postgresql_where=_is(FileState.PENDING))
Index("ix_files_purge_at", files.c.purge_at, postgresql_where=_is(FileState.DELETED))
Index(
    "ix_files_avatar",
    files.c.owner,
    unique=True,
    postgresql_where=and_(
        _is(FileState.STORED),
        files.c.purpose == literal(Purpose.AVATAR.value, literal_execute=True),
    ),
)

installation = Table(
    "installation",
    metadata,
    # One row at most.
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    CheckConstraint("number = 1", name="number"),
)


class PostgresFileRepository(FileRepository):
    """The files of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._gateway = TableGateway(transaction, files, to_row=to_row, of_row=to_file)

    async def add(self, file: File) -> None:
        await self._gateway.add(file)

    async def find(self, file_id: FileId) -> File | None:
        return await self._gateway.find(files.c.id == file_id)

    async def lock(self, file_id: FileId) -> File | None:
        return next(iter(await self._gateway.lock(files.c.id == file_id)), None)

    async def save(self, file: File) -> None:
        await self._gateway.save(file)

    async def remove(self, file_id: FileId) -> None:
        await self._gateway.delete(files.c.id == file_id)

    async def usage(self, owner: UserId) -> Usage:
        statement = select(
            func.coalesce(func.sum(files.c.size), 0).label("size"),
            func.count().label("files"),
            func.count().filter(_is(FileState.PENDING)).label("pending"),
        ).where(files.c.owner == owner, _not_deleted)
        row = (await self._transaction.read(statement)).one()
        return Usage(int(row.size), row.files, row.pending)

    async def of_owner(self, owner: UserId, *, after: Cursor | None, limit: int) -> Slice[File]:
        statement = select(files).where(
            files.c.owner == owner,
            _not_deleted,
            files.c.purpose == literal(Purpose.FILE.value, literal_execute=True),
        )
        place = tuple_(files.c.created_at, files.c.id)
        if after is not None:
            statement = statement.where(place < tuple_(literal(after.at), literal(after.id)))
        found = await self._gateway.select(
            statement.order_by(files.c.created_at.desc(), files.c.id.desc()).limit(limit + 1)
        )
        records = found[:limit]
        last = Cursor(records[-1].created_at, records[-1].id) if len(found) > limit else None
        return Slice(records, last)

    async def avatar_of(self, owner: UserId) -> File | None:
        return await self._gateway.find(
            files.c.owner == owner,
            _is(FileState.STORED),
            files.c.purpose == literal(Purpose.AVATAR.value, literal_execute=True),
        )

    async def delete_all_of(self, owner: UserId, *, at: datetime) -> None:
        await self._transaction.write(
            update(files)
            .where(files.c.owner == owner, _not_deleted)
            .values(
                state=FileState.DELETED.value,
                deleted_at=at,
                purge_at=at,
                reason="owner_deleted",
                claim=None,
                claimed_until=None,
            )
        )

    async def lock_expired(self, *, at: datetime, limit: int) -> Sequence[File]:
        return await self._lock_free(
            _is(FileState.PENDING),
            files.c.expires_at <= at,
            or_(files.c.claimed_until.is_(None), files.c.claimed_until <= at),
            order_by=files.c.expires_at,
            limit=limit,
        )

    async def lock_to_purge(self, *, at: datetime, limit: int) -> Sequence[File]:
        return await self._lock_free(
            _is(FileState.DELETED),
            files.c.purge_at <= at,
            order_by=files.c.purge_at,
            limit=limit,
        )

    async def after_key(self, key: str, *, limit: int) -> Sequence[File]:
        # The order of UUIDs is that of their texts.
        statement = select(files).order_by(*OrderBy([files.c.owner, files.c.id]).within(files))
        if key:
            owner, file_id = map(UUID, key.split("/")[1:])
            statement = statement.where(
                tuple_(files.c.owner, files.c.id) > tuple_(literal(owner), literal(file_id))
            )
        return await self._gateway.select(statement.limit(limit))

    async def installation(self) -> UUID:
        await self._transaction.write(
            insert(installation).values(number=1).on_conflict_do_nothing()
        )
        found = await self._transaction.write(select(installation.c.id))
        one: UUID = found.scalar_one()
        return one

    async def _lock_free(
        self, *conditions: ColumnElement[bool], order_by: Column[Any], limit: int
    ) -> Sequence[File]:
        rows = await self._transaction.write(
            select(files)
            .where(*conditions)
            .order_by(order_by)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [to_file(row) for row in rows]


def to_row(file: File) -> dict[str, Any]:
    """Return the columns that hold `file`."""
    return {
        "id": file.id,
        "owner": file.owner,
        "purpose": file.purpose.value,
        "visibility": file.visibility.value,
        "name": file.name.value,
        "media_type": file.media_type.value,
        "size": file.size,
        "checksum": None if file.checksum is None else file.checksum.value,
        "state": file.state.value,
        "part_size": file.part_size,
        "upload_id": file.upload_id,
        "claim": file.claim,
        "claimed_until": file.claimed_until,
        "etag": file.etag,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "urls_until": file.urls_until,
        "stored_at": file.stored_at,
        "deleted_at": file.deleted_at,
        "reason": file.reason,
        "attempts": file.attempts,
        "purge_at": file.purge_at,
    }


def to_file(row: Row[Any]) -> File:
    """Return the file that a row of `files` holds."""
    return File(
        id=FileId(row.id),
        owner=UserId(row.owner),
        purpose=Purpose(row.purpose),
        visibility=Visibility(row.visibility),
        name=FileName(row.name),
        media_type=MediaType(row.media_type),
        size=row.size,
        checksum=None if row.checksum is None else Checksum(row.checksum),
        state=FileState(row.state),
        part_size=row.part_size,
        upload_id=row.upload_id,
        claim=row.claim,
        claimed_until=row.claimed_until,
        etag=row.etag,
        created_at=row.created_at,
        expires_at=row.expires_at,
        urls_until=row.urls_until,
        stored_at=row.stored_at,
        deleted_at=row.deleted_at,
        reason=row.reason,
        attempts=row.attempts,
        purge_at=row.purge_at,
    )
