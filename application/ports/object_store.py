"""Objects: bytes under keys, in an S3-compatible store that clients speak to themselves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from domain.errors import NotFound, Unavailable
from domain.files.content import MediaType
from domain.files.files import Checksum, Part


class UploadNotFound(NotFound):
    """There is no such upload in parts: it was finished, or aborted."""

    code = "files.upload_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such upload")


class BucketNotFound(Unavailable):
    """The store answers, but has no bucket for the objects."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that everybody who knows it can send to the store, until it expires."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Exactly those to send, besides the length; the store refuses other values and missing ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What the store says of an object."""

    size: int
    media_type: str
    etag: str
    """Without quotes."""
    checksums: frozenset[str] = frozenset()
    """Those that the store has verified, as `sha256:<Base64>` or `crc32:<Base64>`."""
    unsigned: tuple[str, ...] = ()
    """Names of properties that were not in the signed request: an encoding, a disposition, metadata."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An entry of the list of objects."""

    key: str
    modified_at: datetime


class ObjectStore(Protocol):
    """Objects by key. Each method but those that sign raises `Unavailable` if the store is down, or slow.

    A signed request is bound to its method and key. Signing needs no request to the store.
    """

    async def make_bucket(self, origins: Collection[str]) -> bool:
        """Make the bucket if there is none, and return whether there was none.

        Pages of `origins` may upload to it; `*` stands for all. A bucket that is there stays as it is.
        """
        ...

    async def sign_put(
        self,
        key: str,
        *,
        size: int,
        media_type: MediaType,
        checksum: Checksum | None,
        lifetime: timedelta,
    ) -> SignedRequest:
        """Return the request that makes the object: of this size, type and checksum, and only if there is none."""
        ...

    async def sign_part(
        self, key: str, upload_id: str, number: int, *, size: int, lifetime: timedelta
    ) -> SignedRequest:
        """Return the request that sends a part of this size; sent again, it replaces the part."""
        ...

    async def sign_get(
        self, key: str, *, media_type: MediaType, disposition: str, lifetime: timedelta
    ) -> SignedRequest:
        """Return the request that reads the object, answered with this type and disposition, and is not cached."""
        ...

    async def start_upload(
        self, key: str, *, media_type: MediaType, checksum: Checksum | None
    ) -> str:
        """Begin an upload in parts and return its id."""
        ...

    async def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """Return the parts that have arrived, each number once, in order; raise `UploadNotFound`."""
        ...

    async def finish_upload(
        self, key: str, upload_id: str, parts: Sequence[Part], *, checksum: Checksum | None
    ) -> None:
        """Make the object of these parts, if there is none yet.

        Raise `UploadNotFound`, for example if this has happened already; `ChecksumMismatch` if the parts make
        something else. It may still happen after `Unavailable`.
        """
        ...

    async def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of the object, if it exists."""
        ...

    async def read(self, key: str, *, etag: str, limit: int) -> bytes | None:
        """Return the first `limit` bytes of the object, if it exists and has this version."""
        ...

    async def put(self, key: str, content: bytes, *, media_type: MediaType) -> str:
        """Store an object in place of another one, and return its version."""
        ...

    async def purge(self, key: str) -> None:
        """Remove the object and all that has arrived of uploads to it. It is no error if there is nothing."""
        ...

    async def list_objects(self, *, after: str, limit: int) -> Sequence[ListedObject]:
        """Return the next objects whose keys follow `after`, in the order of their keys (UTF-8), at most `limit`."""
        ...
