"""`ObjectStore` in memory, and the requests that clients would send to it."""

import hashlib
import zlib
from base64 import b64encode
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from urllib.parse import urlencode

from application.ports.object_store import (
    ListedObject,
    ObjectInfo,
    ObjectStore,
    SignedRequest,
    UploadNotFound,
)
from application.ports.system import Clock
from domain.files.content import MediaType
from domain.files.errors import ChecksumMismatch
from domain.files.files import Checksum, Part, etag_of_parts


@dataclass(frozen=True, slots=True)
class MemoryObject:
    """An object and what the store says of it."""

    content: bytes
    info: ObjectInfo
    modified_at: datetime


@dataclass(slots=True)
class MemoryUpload:
    """An upload in parts."""

    key: str
    media_type: str
    checksum: Checksum | None
    parts: dict[int, bytes] = field(default_factory=dict[int, bytes])


@dataclass(frozen=True, slots=True)
class _Signed:
    """What a signed request is bound to."""

    method: str
    key: str
    expires_at: datetime
    size: int | None = None
    media_type: str = ""
    checksum: Checksum | None = None
    upload: tuple[str, int] | None = None


class MemoryObjectStore(ObjectStore):
    """Objects of one process. `send` is what a client does with a signed request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = count(1)
        self._signed: dict[str, _Signed] = {}
        self.objects: dict[str, MemoryObject] = {}
        self.uploads: dict[str, MemoryUpload] = {}

    async def make_bucket(self, origins: Collection[str]) -> bool:  # noqa: ARG002 - there is always one
        return False

    async def sign_put(
        self,
        key: str,
        *,
        size: int,
        media_type: MediaType,
        checksum: Checksum | None,
        lifetime: timedelta,
    ) -> SignedRequest:
        headers = {
            "Content-Type": media_type.value,
            "If-None-Match": "*",
        }
        if checksum is not None:
            headers[f"x-amz-checksum-{checksum.algorithm}"] = checksum.digest
        expires_at = self._clock.now() + lifetime
        url = self._sign(_Signed("PUT", key, expires_at, size, media_type.value, checksum))
        return SignedRequest("PUT", url, headers)

    async def sign_part(
        self, key: str, upload_id: str, number: int, *, size: int, lifetime: timedelta
    ) -> SignedRequest:
        expires_at = self._clock.now() + lifetime
        url = self._sign(_Signed("PUT", key, expires_at, size, upload=(upload_id, number)))
        return SignedRequest("PUT", url)

    async def sign_get(
        self, key: str, *, media_type: MediaType, disposition: str, lifetime: timedelta
    ) -> SignedRequest:
        url = self._sign(_Signed("GET", key, self._clock.now() + lifetime))
        query = urlencode({"type": media_type.value, "disposition": disposition})
        return SignedRequest("GET", f"{url}&{query}")

    async def start_upload(
        self, key: str, *, media_type: MediaType, checksum: Checksum | None
    ) -> str:
        upload_id = f"upload-{next(self._numbers)}"
        self.uploads[upload_id] = MemoryUpload(key, media_type.value, checksum)
        return upload_id

    async def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        parts = self._upload(key, upload_id).parts
        return [Part(number, len(parts[number]), _md5(parts[number])) for number in sorted(parts)]

    async def finish_upload(
        self, key: str, upload_id: str, parts: Sequence[Part], *, checksum: Checksum | None
    ) -> None:
        upload = self._upload(key, upload_id)
        content = b"".join(upload.parts[part.number] for part in parts)
        if checksum is not None and checksum.value not in _checksums(content):
            raise ChecksumMismatch("The parts have another checksum than announced")
        if key not in self.objects:
            self._put(key, content, upload.media_type, checksum, etag_of_parts(parts))
        del self.uploads[upload_id]

    async def head(self, key: str) -> ObjectInfo | None:
        found = self.objects.get(key)
        return found.info if found else None

    async def read(self, key: str, *, etag: str, limit: int) -> bytes | None:
        found = self.objects.get(key)
        return found.content[:limit] if found and found.info.etag == etag else None

    async def put(self, key: str, content: bytes, *, media_type: MediaType) -> str:
        etag = _md5(content)
        self._put(key, content, media_type.value, None, etag)
        return etag

    async def purge(self, key: str) -> None:
        self.objects.pop(key, None)
        self.uploads = {one: upload for one, upload in self.uploads.items() if upload.key != key}

    async def list_objects(self, *, after: str, limit: int) -> Sequence[ListedObject]:
        keys = sorted(key for key in self.objects if key > after)[:limit]
        return [ListedObject(key, self.objects[key].modified_at) for key in keys]

    # --- what a client does ---

    def send(self, url: str, content: bytes) -> int:
        """Send `content` with the headers that were signed; return the status of the answer."""
        signed = self._signed[url]
        if self._clock.now() >= signed.expires_at or signed.size != len(content):
            return 403
        if signed.checksum is not None and signed.checksum.value not in _checksums(content):
            return 400
        if signed.upload is not None:
            upload_id, number = signed.upload
            if upload_id not in self.uploads:
                return 404
            self.uploads[upload_id].parts[number] = content
            return 200
        if signed.key in self.objects:
            return 412
        self._put(signed.key, content, signed.media_type, signed.checksum, _md5(content))
        return 200

    def _sign(self, signed: _Signed) -> str:
        url = f"http://objects.test/{signed.key}?signature={next(self._numbers)}"
        self._signed[url] = signed
        return url

    def _upload(self, key: str, upload_id: str) -> MemoryUpload:
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise UploadNotFound
        return upload

    def _put(
        self, key: str, content: bytes, media_type: str, checksum: Checksum | None, etag: str
    ) -> None:
        info = ObjectInfo(
            size=len(content),
            media_type=media_type,
            etag=etag,
            checksums=frozenset() if checksum is None else frozenset({checksum.value}),
        )
        self.objects[key] = MemoryObject(content, info, self._clock.now())


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _checksums(content: bytes) -> set[str]:
    sha256 = hashlib.sha256(content).digest()
    crc32 = zlib.crc32(content).to_bytes(4, "big")
    return {
        f"sha256:{b64encode(sha256).decode()}",
        f"crc32:{b64encode(crc32).decode()}",
    }
