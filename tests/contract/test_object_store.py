"""What `ObjectStore` promises, kept by memory and by an S3 server over a real socket."""

import hashlib
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from adapters.memory.object_store import MemoryObjectStore
from adapters.s3.client import S3Client
from adapters.s3.health import S3Probe
from adapters.s3.object_store import S3ObjectStore
from adapters.system import SystemClock, Uuid7Generator
from application.ports.object_store import ObjectInfo, ObjectStore, SignedRequest, UploadNotFound
from domain.files.content import MediaType
from domain.files.errors import ChecksumMismatch
from domain.files.files import MIB, Checksum, Part, etag_of_parts
from tests.support.clock import MovableClock
from tests.support.plain_http import NO_TLS
from tests.support.servers import s3_of

TEXT = MediaType("text/plain")
A_MINUTE = timedelta(minutes=1)
PART = 5 * MIB


@dataclass(frozen=True, slots=True)
class Store:
    """An object store, what a client does with a signed request, and a prefix of keys of its own."""

    objects: ObjectStore
    send: Callable[[SignedRequest, bytes], Any]
    prefix: str

    def key(self, name: str = "one") -> str:
        return f"{self.prefix}/{name}"

    async def put(
        self, content: bytes, *, size: int | None = None, checksum: Checksum | None = None
    ) -> int:
        """Upload `content` with a request that is signed for it, or for another size or checksum."""
        signed = await self.objects.sign_put(
            self.key(),
            size=len(content) if size is None else size,
            media_type=TEXT,
            checksum=checksum,
            lifetime=A_MINUTE,
        )
        return int(await self.send(signed, content))

    async def put_part(self, upload_id: str, number: int, content: bytes) -> int:
        signed = await self.objects.sign_part(
            self.key(), upload_id, number, size=len(content), lifetime=A_MINUTE
        )
        return int(await self.send(signed, content))

    async def start(self, checksum: Checksum | None = None) -> str:
        return await self.objects.start_upload(self.key(), media_type=TEXT, checksum=checksum)


# One client for all tests: to make one takes longer than they do.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(
    params=["memory", pytest.param("s3", marks=pytest.mark.server)],
    scope="module",
    loop_scope="module",
)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        memory = MemoryObjectStore(MovableClock())

        async def send_to_memory(signed: SignedRequest, content: bytes) -> int:
            return memory.send(signed.url, content)

        yield Store(memory, send_to_memory, "")
        return
    settings = replace(s3_of(request.getfixturevalue("servers")), timeout=timedelta(seconds=30))
    client = S3Client(settings)
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False, timeout=30) as http:

        async def send(signed: SignedRequest, content: bytes) -> int:
            answer = await http.request(
                signed.method, signed.url, headers=dict(signed.headers), content=content
            )
            return answer.status_code

        yield Store(S3ObjectStore(client, settings, S3Probe(settings, SystemClock())), send, "")
    await client.aclose()


@pytest.fixture
def store(backend: Store) -> Store:
    """Return the store, with keys of this test's own."""
    return replace(backend, prefix=f"contract/{Uuid7Generator().new()}")


def sha256(content: bytes) -> Checksum:
    return Checksum(f"sha256:{b64encode(hashlib.sha256(content).digest()).decode()}")


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def crc32(content: bytes) -> Checksum:
    return Checksum(f"crc32:{b64encode(zlib.crc32(content).to_bytes(4, 'big')).decode()}")


async def test_an_object_that_a_signed_request_uploads_is_there(store: Store) -> None:
    assert await store.objects.head(store.key()) is None

    assert await store.put(b"hello") == 200

    assert await store.objects.head(store.key()) == ObjectInfo(
        size=5, media_type="text/plain", etag="5d41402abc4b2a76b9719d911017c592"
    )


async def test_an_upload_is_bound_to_its_size(store: Store) -> None:
    for size in (4, 6):
        assert await store.put(b"hello", size=size) == 403

    assert await store.objects.head(store.key()) is None


@pytest.mark.parametrize("checksum", [sha256, crc32])
async def test_an_upload_is_bound_to_its_checksum(
    store: Store, checksum: Callable[[bytes], Checksum]
) -> None:
    assert await store.put(b"hellO", checksum=checksum(b"hello")) == 400
    assert await store.objects.head(store.key()) is None

    assert await store.put(b"hello", checksum=checksum(b"hello")) == 200

    found = await store.objects.head(store.key())
    assert found is not None
    assert checksum(b"hello").value in found.checksums


async def test_only_the_first_upload_to_a_key_succeeds(store: Store) -> None:
    assert await store.put(b"hello") == 200
    assert await store.put(b"HELLO") == 412

    etag = md5(b"hello")
    assert await store.objects.read(store.key(), etag=etag, limit=100) == b"hello"


async def test_the_beginning_of_an_object_is_read_if_it_has_the_version(store: Store) -> None:
    await store.put(b"hello")
    etag = md5(b"hello")

    assert await store.objects.read(store.key(), etag=etag, limit=2) == b"he"
    assert await store.objects.read(store.key(), etag="0" * 32, limit=2) is None
    assert await store.objects.read(store.key("none"), etag=etag, limit=2) is None


async def test_parts_make_an_object(store: Store) -> None:
    first, last = b"a" * PART, b"end"
    upload = await store.start()
    assert await store.put_part(upload, 2, last) == 200
    assert await store.put_part(upload, 1, first) == 200

    parts = await store.objects.list_parts(store.key(), upload)
    await store.objects.finish_upload(store.key(), upload, parts, checksum=None)

    assert parts == [
        Part(1, PART, md5(first)),
        Part(2, 3, md5(last)),
    ]
    found = await store.objects.head(store.key())
    assert found == ObjectInfo(size=PART + 3, media_type="text/plain", etag=etag_of_parts(parts))


async def test_a_part_that_is_sent_again_counts_once(store: Store) -> None:
    upload = await store.start()
    for content in (b"first", b"again"):
        await store.put_part(upload, 1, content)

    parts = await store.objects.list_parts(store.key(), upload)

    assert [(part.number, part.size) for part in parts] == [(1, 5)]


async def test_a_finished_upload_is_not_found(store: Store) -> None:
    upload = await store.start()
    await store.put_part(upload, 1, b"all")
    parts = await store.objects.list_parts(store.key(), upload)
    await store.objects.finish_upload(store.key(), upload, parts, checksum=None)

    with pytest.raises(UploadNotFound):
        await store.objects.list_parts(store.key(), upload)
    assert await store.put_part(upload, 2, b"late") == 404


async def test_an_upload_in_parts_replaces_nothing(store: Store) -> None:
    upload = await store.start()
    await store.put_part(upload, 1, b"late")
    parts = await store.objects.list_parts(store.key(), upload)
    await store.put(b"early")

    await store.objects.finish_upload(store.key(), upload, parts, checksum=None)

    found = await store.objects.head(store.key())
    assert found is not None
    assert found.etag == md5(b"early")


async def test_the_checksum_of_all_parts_together_is_verified(store: Store) -> None:
    content = b"a" * PART + b"end"
    upload = await store.start(crc32(content))
    await store.put_part(upload, 1, content[:PART])
    await store.put_part(upload, 2, b"END")
    wrong = await store.objects.list_parts(store.key(), upload)

    with pytest.raises(ChecksumMismatch):
        await store.objects.finish_upload(store.key(), upload, wrong, checksum=crc32(content))
    assert await store.objects.head(store.key()) is None

    # Another upload: which of two that came within a second is the last one, not every server knows.
    upload = await store.start(crc32(content))
    await store.put_part(upload, 1, content[:PART])
    await store.put_part(upload, 2, b"end")
    right = await store.objects.list_parts(store.key(), upload)
    await store.objects.finish_upload(store.key(), upload, right, checksum=crc32(content))
    found = await store.objects.head(store.key())
    assert found is not None
    assert crc32(content).value in found.checksums


async def test_a_purge_removes_the_object_and_what_has_arrived(store: Store) -> None:
    upload = await store.start()
    await store.put_part(upload, 1, b"part")
    other = await store.objects.start_upload(store.key("one-more"), media_type=TEXT, checksum=None)
    await store.put(b"hello")

    for _ in range(2):  # it is no error if there is nothing
        await store.objects.purge(store.key())

    assert await store.objects.head(store.key()) is None
    with pytest.raises(UploadNotFound):
        await store.objects.list_parts(store.key(), upload)
    assert await store.objects.list_parts(store.key("one-more"), other) == []
    await store.objects.purge(store.key("one-more"))


async def test_objects_are_listed_in_the_order_of_their_keys(store: Store) -> None:
    keys = [store.key(name) for name in ("a", "b", "b/c", "d")]
    for key in reversed(keys):
        await store.objects.put(key, b"x", media_type=TEXT)

    first = await store.objects.list_objects(after=f"{store.prefix}/", limit=3)
    rest = await store.objects.list_objects(after=first[-1].key, limit=3)

    assert [each.key for each in first] == keys[:3]
    assert rest[0].key == keys[3]
    for key in keys:
        await store.objects.purge(key)


async def test_an_object_that_is_put_replaces_another_one(store: Store) -> None:
    await store.objects.put(store.key(), b"hello", media_type=TEXT)

    etag = await store.objects.put(store.key(), b"HELLO", media_type=TEXT)

    assert await store.objects.read(store.key(), etag=etag, limit=9) == b"HELLO"
