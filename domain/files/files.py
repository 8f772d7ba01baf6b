"""A file, from the announcement of its upload to the deletion of its object."""

import hashlib
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, NewType
from uuid import UUID

from domain.files.content import MediaType
from domain.files.errors import (
    FileNotFound,
    InvalidFile,
    NotInParts,
    NotStored,
    PartsMissing,
    QuotaExceeded,
    UploadBusy,
    UploadDone,
)
from domain.identity import UserId
from domain.text import problem_with

FileId = NewType("FileId", UUID)

MIB = 1024 * 1024
IN_PARTS_FROM = 16 * MIB
"""Size from which a file is uploaded in parts, in bytes."""
LARGEST = 5 * 1024 * 1024 * MIB
"""Largest object of S3 (5 TiB), in bytes."""

_PART_SIZE = 8 * MIB
_MOST_PARTS = 9_000
"""S3 takes 10,000."""
_LONGEST_NAME = 1024
_COMPLETED_WITHIN = timedelta(seconds=60)
_LONGEST_UPLOAD = timedelta(days=7)
_AFTER_THE_LAST_URL = timedelta(minutes=5)
"""A request that began just before its URL expired may take as long."""
_FIRST_RETRY, _LAST_RETRY = timedelta(minutes=1), timedelta(hours=6)


class FileState(StrEnum):
    """How far a file is. Nothing leaves `deleted` but the removal of the row."""

    PENDING = "pending"
    """Announced; parts of it may have arrived."""
    STORED = "stored"
    """Complete and verified."""
    DELETED = "deleted"
    """No user can see it; a job removes its object."""


class Visibility(StrEnum):
    """Who besides its owner can see a file."""

    PRIVATE = "private"
    """Only holders of the permission."""
    SHARED = "shared"
    """Every user who knows its id."""


class Purpose(StrEnum):
    """What a file is for."""

    FILE = "file"
    AVATAR = "avatar"


@dataclass(frozen=True, slots=True)
class FileName:
    """A name to show and to download under, on one line. It is only a name: no key, no path."""

    LENGTH: ClassVar = (1, _LONGEST_NAME)

    value: str

    def __post_init__(self) -> None:
        if problem := problem_with(self.value, *self.LENGTH):
            raise InvalidFile(problem, field="name")
        if len(self.value.encode()) > _LONGEST_NAME:
            raise InvalidFile(f"must have at most {_LONGEST_NAME} bytes in UTF-8", field="name")


@dataclass(frozen=True, slots=True)
class Checksum:
    """The checksum of a whole file: `sha256:` or `crc32:` and the digest in Base64."""

    LENGTH: ClassVar = (14, 51)

    value: str

    def __post_init__(self) -> None:
        size = {"sha256": 32, "crc32": 4}.get(self.algorithm, 0)
        try:
            digest = b64decode(self.digest, validate=True)
        except (Base64Error, ValueError):
            digest = b""
        if not size or len(digest) != size:
            raise InvalidFile(
                "must be sha256: or crc32: and the digest in Base64", field="checksum"
            )

    @property
    def algorithm(self) -> str:
        """`sha256` or `crc32`."""
        return self.value.partition(":")[0]

    @property
    def digest(self) -> str:
        """The digest in Base64."""
        return self.value.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has arrived, by its number from 1."""

    number: int
    size: int
    etag: str
    """Without quotes; MD5 in hexadecimal, but not with every encryption."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a user has reserved: announced and stored files."""

    size: int = 0
    files: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Quota:
    """What a user may reserve."""

    size: int
    files: int
    pending: int

    def check(self, usage: Usage, *, more: int) -> None:
        """Raise `QuotaExceeded` unless there is room for another upload of `more` bytes."""
        if usage.size + more > self.size:
            raise QuotaExceeded(
                f"Your files may have {self.size} bytes together; {usage.size} are taken"
            )
        if usage.files >= self.files:
            raise QuotaExceeded(f"You may have {self.files} files; delete some first")
        if usage.pending >= self.pending:
            raise QuotaExceeded(
                f"{self.pending} uploads may be open at once; complete or abort some"
            )


@dataclass(slots=True, kw_only=True)
class File:
    """A file of a user. Its size counts from the announcement on, until it is deleted."""

    id: FileId
    owner: UserId
    name: FileName
    media_type: MediaType
    size: int
    created_at: datetime
    expires_at: datetime
    """When the upload is given up."""
    urls_until: datetime
    """When the last URL expires that was signed for its upload."""
    purpose: Purpose = Purpose.FILE
    visibility: Visibility = Visibility.PRIVATE
    checksum: Checksum | None = None
    state: FileState = FileState.PENDING
    part_size: int | None = None
    """None: it is uploaded with one request."""
    upload_id: str | None = None
    """The store's name of the upload in parts."""
    claim: UUID | None = None
    """Who completes the upload, until `claimed_until`."""
    claimed_until: datetime | None = None
    etag: str | None = None
    """The version of the object that the parts make, and in the end of the one that was verified."""
    stored_at: datetime | None = None
    deleted_at: datetime | None = None
    reason: str = ""
    """Why it was deleted: `deleted`, `aborted`, `expired`, `replaced`, `owner_deleted`, or the code of an error."""
    attempts: int = 0
    """How often the removal of its object has failed in a row."""
    purge_at: datetime | None = None
    """When to remove its object, again."""

    @property
    def key(self) -> str:
        """The key of its object. It has nothing of the name."""
        return f"users/{self.owner}/{self.id}"

    @property
    def part_count(self) -> int:
        """How many parts it has; raise `NotInParts`."""
        return -(-self.size // self._part_size)

    @property
    def _part_size(self) -> int:
        if self.part_size is None:
            raise NotInParts
        return self.part_size

    def size_of_part(self, number: int) -> int:
        """Return the size of a part in bytes; raise `InvalidFile` if there is no such part."""
        if not 1 <= number <= self.part_count:
            raise InvalidFile(f"There are parts 1 to {self.part_count}", field="numbers")
        return min(self._part_size, self.size - (number - 1) * self._part_size)

    def check_open(self) -> None:
        """Raise unless its upload goes on: `UploadDone` or `FileNotFound`."""
        if self.state is FileState.STORED:
            raise UploadDone
        if self.state is FileState.DELETED:
            raise FileNotFound

    def check_stored(self) -> None:
        """Raise unless it can be downloaded: `NotStored` or `FileNotFound`."""
        if self.state is FileState.PENDING:
            raise NotStored
        if self.state is FileState.DELETED:
            raise FileNotFound

    def sign(self, *, at: datetime, urls: timedelta, upload: timedelta) -> datetime:
        """Note that URLs are signed now, and return when they expire; the upload is given up `upload` later."""
        self.urls_until = max(self.urls_until, at + urls)
        self.expires_at = max(self.expires_at, min(at + upload, self.created_at + _LONGEST_UPLOAD))
        return at + urls

    def claim_completion(self, claim: UUID, *, at: datetime) -> None:
        """Reserve the right to complete or abort the upload for one minute; raise `UploadBusy` if another has it."""
        self.check_open()
        self._check_free(at)
        self.claim, self.claimed_until = claim, at + _COMPLETED_WITHIN

    def holds(self, claim: UUID) -> bool:
        """Return whether the upload is still open, and claimed by `claim`."""
        return self.state is FileState.PENDING and self.claim == claim

    def release(self) -> None:
        """Let others complete or abort the upload again."""
        self.claim = self.claimed_until = None

    def check_parts(self, parts: Sequence[Part]) -> None:
        """Raise `PartsMissing` unless all parts are there, each of its size."""
        sizes = {part.number: part.size for part in parts}
        missing = [
            number
            for number in range(1, self.part_count + 1)
            if sizes.get(number) != self.size_of_part(number)
        ]
        if missing:
            raise PartsMissing(missing)

    def store(self, etag: str, *, at: datetime) -> None:
        """Make it a file that can be downloaded."""
        self.state, self.etag, self.stored_at = FileState.STORED, etag, at
        self.release()

    def abort(self, *, at: datetime, reason: str = "aborted") -> None:
        """Give up the upload; raise `UploadBusy`, `UploadDone` or `FileNotFound`."""
        self.check_open()
        self._check_free(at)
        self.delete(at=at, reason=reason)

    def delete(self, *, at: datetime, reason: str = "deleted") -> None:
        """Delete it, and let a job remove its object."""
        if self.state is FileState.DELETED:
            return
        self.state, self.deleted_at, self.reason = FileState.DELETED, at, reason
        self.purge_at = at
        self.release()

    def begin_purge(self, *, at: datetime) -> None:
        """Keep other jobs away until `purge_at`; then one tries again, unless `end_purge` was called."""
        self.purge_at = at + min(_FIRST_RETRY * 2 ** min(self.attempts, 20), _LAST_RETRY)
        self.attempts += 1

    def end_purge(self, *, at: datetime) -> bool:
        """Record that the object is removed; return whether it can never come back.

        A client that has a URL can upload it again, and one that completed it in that moment may have been faster.
        """
        self.attempts = 0
        last = max(self.urls_until, self.deleted_at or at) + _AFTER_THE_LAST_URL
        self.purge_at = last
        return at >= last

    def _check_free(self, at: datetime) -> None:
        if self.claimed_until is not None and at < self.claimed_until:
            raise UploadBusy


def part_size_for(size: int) -> int | None:
    """Return the size of the parts of a file, in bytes; None if it is uploaded with one request."""
    if size < IN_PARTS_FROM:
        return None
    mebibytes = -(-size // (_MOST_PARTS * MIB))
    return max(_PART_SIZE, mebibytes * MIB)


_MD5 = re.compile("[0-9a-f]{32}")


def etag_of_parts(parts: Iterable[Part]) -> str:
    """Return the entity tag of the object that these parts make: the MD5 of their MD5s, and how many they are."""
    tags = [part.etag for part in sorted(parts, key=lambda part: part.number)]
    digests = b"".join(bytes.fromhex(tag) for tag in tags if _MD5.fullmatch(tag))
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(tags)}"


def latest_parts(parts: Iterable[tuple[Part, datetime]]) -> Sequence[Part]:
    """Return each number once, in order: of a part that was sent several times the last one."""
    latest: Mapping[int, Part] = {
        part.number: part for part, _ in sorted(parts, key=lambda each: each[1])
    }
    return [latest[number] for number in sorted(latest)]
