"""`ObjectStore` in an S3-compatible store. Bytes do not pass through here, but those of avatars."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from adapters.s3.client import S3Client
from adapters.s3.errors import Refused, calling, check_answer
from application.ports.health import Probe
from application.ports.object_store import (
    BucketNotFound,
    ListedObject,
    ObjectInfo,
    ObjectStore,
    SignedRequest,
    UploadNotFound,
)
from application.settings import S3Settings
from domain.errors import Unavailable
from domain.files.content import MediaType
from domain.files.errors import ChecksumMismatch
from domain.files.files import Checksum, Part, latest_parts

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client as BotoClient

_T = TypeVar("_T")

_FINISHED_WITHIN = timedelta(seconds=30)
"""A store may copy all parts, which takes longer than its other answers."""

_NOT_THERE = frozenset({"404", "NoSuchKey"})
_NO_UPLOAD = frozenset({"404", "NoSuchUpload"})
_OTHER_CONTENT = frozenset({"BadDigest", "XAmzContentChecksumMismatch"})
_CHANGED = frozenset({"412", "PreconditionFailed", "InvalidRange", "416"})

# What a client may add to a signed request without breaking its signature, and what the store then hands on.
_UNSIGNED = (
    *("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "Expires"),
    *("WebsiteRedirectLocation", "Metadata"),
)
_ADDED_BY_BROWSERS = ("CacheControl", "no-cache")
"""`fetch` adds it to each request with `If-None-Match` (Fetch Standard, HTTP-network-or-cache fetch). It does no harm:
a signed download says itself how it is cached."""
_CHECKSUMS = {"sha256": "ChecksumSHA256", "crc32": "ChecksumCRC32"}

_DEFAULT_REGION = "us-east-1"
_MADE_MEANWHILE = frozenset({"BucketAlreadyOwnedByYou"})
_SENT_BY_PAGES = [
    *("content-type", "if-none-match"),
    *(f"x-amz-checksum-{algorithm}" for algorithm in _CHECKSUMS),
]


class S3ObjectStore(ObjectStore):
    """One bucket. Each call has a deadline of its own."""

    def __init__(self, client: S3Client, settings: S3Settings, probe: Probe) -> None:
        self._client = client
        self._probe = probe
        self._region = settings.region
        self._bucket = client.bucket
        self._limit = settings.timeout
        self._finishing: set[asyncio.Task[Any]] = set()

    async def make_bucket(self, origins: Collection[str]) -> bool:
        try:
            await self._probe.check()  # without the driver: nearly always the bucket is there
        except BucketNotFound:
            await self._make_bucket(origins)
            return True
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
            # The first one to write wins, so what has been verified cannot be replaced.
            "If-None-Match": "*",
        }
        parameters: dict[str, Any] = {
            "ContentLength": size,
            "ContentType": media_type.value,
            "IfNoneMatch": "*",
        }
        if checksum is not None:
            headers[f"x-amz-checksum-{checksum.algorithm}"] = checksum.digest
            parameters[_CHECKSUMS[checksum.algorithm]] = checksum.digest
        url = await self._sign("put_object", key, parameters, lifetime)
        return SignedRequest("PUT", url, headers)

    async def sign_part(
        self, key: str, upload_id: str, number: int, *, size: int, lifetime: timedelta
    ) -> SignedRequest:
        parameters = {"UploadId": upload_id, "PartNumber": number, "ContentLength": size}
        url = await self._sign("upload_part", key, parameters, lifetime)
        return SignedRequest("PUT", url)

    async def sign_get(
        self, key: str, *, media_type: MediaType, disposition: str, lifetime: timedelta
    ) -> SignedRequest:
        parameters = {
            "ResponseContentType": media_type.value,
            "ResponseContentDisposition": disposition,
            "ResponseCacheControl": "private, no-store",
        }
        return SignedRequest("GET", await self._sign("get_object", key, parameters, lifetime))

    async def start_upload(
        self, key: str, *, media_type: MediaType, checksum: Checksum | None
    ) -> str:
        parameters: dict[str, Any] = {"ContentType": media_type.value}
        if checksum is not None:
            parameters["ChecksumAlgorithm"] = checksum.algorithm.upper()
            parameters["ChecksumType"] = "FULL_OBJECT"
        client = await self._opened()
        async with calling(self._limit):
            started = await client.create_multipart_upload(
                Bucket=self._bucket, Key=key, **parameters
            )
        check_answer(started, "UploadId")
        return started["UploadId"]

    async def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        client = await self._opened()
        found: list[tuple[Part, datetime]] = []
        try:
            async with calling(self._limit, expected=_NO_UPLOAD):
                pages = client.get_paginator("list_parts").paginate(
                    Bucket=self._bucket, Key=key, UploadId=upload_id
                )
                async for page in pages:
                    check_answer(page, "UploadId")
                    found += (
                        (
                            Part(part["PartNumber"], part["Size"], _bare(part["ETag"])),
                            part["LastModified"],
                        )
                        for part in page.get("Parts", ())
                    )
        except Refused:
            raise UploadNotFound from None
        return latest_parts(found)

    async def finish_upload(
        self, key: str, upload_id: str, parts: Sequence[Part], *, checksum: Checksum | None
    ) -> None:
        # It goes on when its caller has given up: stores may take longer than callers.
        task = asyncio.create_task(self._finish(key, upload_id, parts, checksum))
        self._finishing.add(task)
        task.add_done_callback(self._finished)
        await self._in_time(asyncio.shield(task))

    async def head(self, key: str) -> ObjectInfo | None:
        client = await self._opened()
        try:
            async with calling(self._limit, expected=_NOT_THERE):
                found = await client.head_object(
                    Bucket=self._bucket, Key=key, ChecksumMode="ENABLED"
                )
        except Refused:
            return None
        check_answer(found, "ContentLength", "ContentType", "ETag")
        said: dict[str, Any] = {**found}
        return ObjectInfo(
            size=found["ContentLength"],
            media_type=found["ContentType"],
            etag=_bare(found["ETag"]),
            checksums=frozenset(
                f"{algorithm}:{said[name]}"
                for algorithm, name in _CHECKSUMS.items()
                if said.get(name)
            ),
            unsigned=tuple(
                name
                for name in _UNSIGNED
                if said.get(name) and (name, said[name]) != _ADDED_BY_BROWSERS
            ),
        )

    async def read(self, key: str, *, etag: str, limit: int) -> bytes | None:
        client = await self._opened()
        try:
            async with calling(self._limit, expected=_NOT_THERE | _CHANGED):
                found = await client.get_object(
                    Bucket=self._bucket,
                    Key=key,
                    Range=f"bytes=0-{limit - 1}",
                    IfMatch=f'"{etag}"',
                )
                async with found["Body"]:
                    check_answer(found, "ETag")
                    return await found["Body"].read()
        except Refused:
            return None

    async def put(self, key: str, content: bytes, *, media_type: MediaType) -> str:
        client = await self._opened()
        async with calling(self._limit):
            done = await client.put_object(
                Bucket=self._bucket, Key=key, Body=content, ContentType=media_type.value
            )
        check_answer(done, "ETag")
        return _bare(done["ETag"])

    async def purge(self, key: str) -> None:
        client = await self._opened()
        async with calling(self._limit):
            # Also those whose ids were never noted, because the process ended in that moment.
            pages = client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=key
            )
            uploads: list[str] = []
            async for page in pages:
                check_answer(page, "Bucket")
                uploads += (
                    upload["UploadId"] for upload in page.get("Uploads", ()) if upload["Key"] == key
                )
        for upload_id in uploads:
            try:
                async with calling(self._limit, expected=_NO_UPLOAD):
                    await client.abort_multipart_upload(
                        Bucket=self._bucket, Key=key, UploadId=upload_id
                    )
            except Refused:
                continue
        async with calling(self._limit):
            await client.delete_object(Bucket=self._bucket, Key=key)

    async def list_objects(self, *, after: str, limit: int) -> Sequence[ListedObject]:
        client = await self._opened()
        async with calling(4 * self._limit):
            page = await client.list_objects_v2(
                Bucket=self._bucket, StartAfter=after, MaxKeys=limit
            )
        check_answer(page, "Name")
        return [
            ListedObject(each["Key"], each["LastModified"]) for each in page.get("Contents", ())
        ]

    async def _make_bucket(self, origins: Collection[str]) -> None:
        client = await self._opened()
        place: Any = {}
        if self._region != _DEFAULT_REGION:  # which AWS does not let one name
            place = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        try:
            async with calling(4 * self._limit, expected=_MADE_MEANWHILE):
                await client.create_bucket(Bucket=self._bucket, **place)
        except Refused:
            return
        if not origins:
            return
        async with calling(4 * self._limit):
            await client.put_bucket_cors(
                Bucket=self._bucket,
                CORSConfiguration={
                    "CORSRules": [
                        {
                            "AllowedOrigins": [*origins],
                            "AllowedMethods": ["GET", "PUT"],
                            "AllowedHeaders": _SENT_BY_PAGES,
                            "MaxAgeSeconds": 3600,
                        }
                    ]
                },
            )

    async def _finish(
        self, key: str, upload_id: str, parts: Sequence[Part], checksum: Checksum | None
    ) -> None:
        parameters: dict[str, Any] = {}
        if checksum is not None:
            parameters[_CHECKSUMS[checksum.algorithm]] = checksum.digest
            parameters["ChecksumType"] = "FULL_OBJECT"
        client = await self._opened()
        try:
            async with calling(_FINISHED_WITHIN, expected=_NO_UPLOAD | _OTHER_CONTENT | _CHANGED):
                done = await client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=upload_id,
                    IfNoneMatch="*",
                    MultipartUpload={
                        "Parts": [{"PartNumber": p.number, "ETag": f'"{p.etag}"'} for p in parts]
                    },
                    **parameters,
                )
                check_answer(done, "ETag")
        except Refused as refused:
            if refused.code in _OTHER_CONTENT:
                raise ChecksumMismatch("The parts have another checksum than announced") from None
            if refused.code in _NO_UPLOAD:
                raise UploadNotFound from None

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._finishing.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has raised it, or had given up; then the next attempt finds out

    async def _in_time(self, work: "asyncio.Future[_T]") -> _T:
        try:
            async with asyncio.timeout(self._limit.total_seconds()):
                return await work
        except TimeoutError as error:
            raise Unavailable("S3", reason="it has not finished in time") from error

    async def _opened(self) -> "BotoClient":
        return await self._client.get()

    async def _sign(
        self, operation: str, key: str, parameters: dict[str, Any], lifetime: timedelta
    ) -> str:
        client = await self._client.signer()
        url: str = await client.generate_presigned_url(
            operation,
            Params={"Bucket": self._bucket, "Key": key, **parameters},
            ExpiresIn=round(lifetime.total_seconds()),
        )
        return url


def _bare(etag: str) -> str:
    return etag.strip('"')
