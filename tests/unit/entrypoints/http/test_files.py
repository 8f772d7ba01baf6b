"""Files over HTTP, against a store in memory."""

import asyncio
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

from adapters.memory.object_store import MemoryObject, MemoryObjectStore
from application.settings import FilesSettings
from domain.errors import Unavailable
from domain.files.files import IN_PARTS_FROM, MIB, File, FileState
from domain.identity import User
from tests.support.builders import a_role, a_user
from tests.support.web import Web
from tests.support.world import IN_MEMORY, World

FILES = "/api/v1/files"
HELLO = b"hello"
LARGE = IN_PARTS_FROM + 5


@dataclass(frozen=True, slots=True)
class Client:
    """A user who is logged in, and what they do with files."""

    web: Web
    user: User
    headers: Mapping[str, str]

    @property
    def objects(self) -> MemoryObjectStore:
        return objects_of(self.web.world)

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self.web.client.request(
            method, f"{FILES}{path}", headers=dict(self.headers), **options
        )

    async def try_to_start(self, **body: Any) -> httpx.Response:
        draft = {"name": "note.txt", "contentType": "text/plain", "size": len(HELLO)}
        return await self.ask("POST", "", json=draft | body)

    async def start(self, **body: Any) -> dict[str, Any]:
        response = await self.try_to_start(**body)
        assert response.status_code == 201, response.text
        data: dict[str, Any] = response.json()["data"]
        return data

    async def upload(self, content: bytes = HELLO, **body: Any) -> str:
        """Start an upload, send `content`, and return the path of the file."""
        started = await self.start(size=len(content), **body)
        assert self.objects.send(started["upload"]["url"], content) == 200
        return f"/{started['file']['id']}"

    async def store(self, content: bytes = HELLO, **body: Any) -> str:
        path = await self.upload(content, **body)
        response = await self.ask("POST", f"{path}/complete")
        assert response.status_code == 200, response.text
        return path

    async def error(self, method: str, path: str, **options: Any) -> str:
        response = await self.ask(method, path, **options)
        assert response.status_code >= 400, response.text
        return f"{response.status_code} {response.json()['error']}"

    async def again(self) -> "Client":
        """Return the user with another session, because the token has expired."""
        return replace(self, headers=await self.web.bearer(self.user))

    async def listed(self) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = (await self.ask("GET", "")).json()["data"]["records"]
        return records


def objects_of(world: World) -> MemoryObjectStore:
    objects: MemoryObjectStore = world.container.object_store()
    return objects


def files_of(world: World) -> list[File]:
    return [*world.store.rows(File).values()]


@pytest.fixture
async def ada(web: Web) -> Client:
    user = await web.world.given(a_user())
    return Client(web, user, await web.bearer(user))


@pytest.fixture
async def ben(web: Web) -> Client:
    user = await web.world.given(a_user())
    return Client(web, user, await web.bearer(user))


# --- one request --------------------------------------------------------------------------------


async def test_a_small_file_is_uploaded_with_one_request(ada: Client) -> None:
    started = await ada.start(name="a b.txt")
    path = f"/{started['file']['id']}"

    assert started["upload"]["headers"] == {"Content-Type": "text/plain", "If-None-Match": "*"}
    assert (started["partSize"], started["partCount"], started["parts"]) == (None, None, [])
    assert ada.objects.send(started["upload"]["url"], HELLO) == 200
    completed = await ada.ask("POST", f"{path}/complete")

    assert completed.json()["data"] == {
        **started["file"],
        "state": "stored",
        "storedAt": "2026-03-01T12:00:00Z",
        "expiresAt": None,
    }
    assert await ada.listed() == [completed.json()["data"]]
    assert [entry.action for entry in ada.web.world.audit_entries()][-2:] == [
        "files.upload_started",
        "files.stored",
    ]


async def test_a_second_completion_answers_the_same(ada: Client) -> None:
    path = await ada.upload()

    first = await ada.ask("POST", f"{path}/complete")
    second = await ada.ask("POST", f"{path}/complete")

    assert second.json()["data"] == first.json()["data"]


async def test_of_many_completions_at_once_one_works_and_none_gets_another_answer(
    ada: Client,
) -> None:
    path = await ada.upload()

    answers = await asyncio.gather(*(ada.ask("POST", f"{path}/complete") for _ in range(10)))

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert any(answer.status_code == 200 for answer in answers)
    assert {a.json()["error"] for a in answers if a.status_code == 409} <= {"files.busy"}
    [file] = files_of(ada.web.world)
    assert file.state is FileState.STORED


async def test_nothing_is_complete_before_it_was_uploaded(ada: Client) -> None:
    started = await ada.start()

    assert await ada.error("POST", f"/{started['file']['id']}/complete") == "409 files.not_uploaded"

    assert ada.objects.send(started["upload"]["url"], HELLO) == 200
    assert (await ada.ask("POST", f"/{started['file']['id']}/complete")).status_code == 200


async def test_a_declared_checksum_is_bound_to_the_upload(ada: Client) -> None:
    checksum = f"sha256:{b64encode(sha256(HELLO).digest()).decode()}"
    started = await ada.start(checksum=checksum)

    assert ada.objects.send(started["upload"]["url"], b"HELLO") == 400
    assert ada.objects.send(started["upload"]["url"], HELLO) == 200
    assert (await ada.ask("POST", f"/{started['file']['id']}/complete")).status_code == 200


async def test_a_stored_file_cannot_be_replaced_with_its_old_url(ada: Client) -> None:
    started = await ada.start()
    ada.objects.send(started["upload"]["url"], HELLO)
    await ada.ask("POST", f"/{started['file']['id']}/complete")

    assert ada.objects.send(started["upload"]["url"], b"HELLO") == 412


def resized(found: MemoryObject) -> MemoryObject:
    return replace(found, info=replace(found.info, size=6))


def retyped(found: MemoryObject) -> MemoryObject:
    return replace(found, info=replace(found.info, media_type="text/html"))


def adorned(found: MemoryObject) -> MemoryObject:
    return replace(found, info=replace(found.info, unsigned=("ContentEncoding",)))


def with_another_checksum(found: MemoryObject) -> MemoryObject:
    return replace(found, info=replace(found.info, checksums=frozenset()))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        (resized, "files.size_mismatch"),
        (retyped, "files.content_mismatch"),
        (adorned, "files.content_mismatch"),
        (with_another_checksum, "files.checksum_mismatch"),
    ],
)
async def test_an_upload_that_only_the_store_accepts_is_refused_and_removed(
    ada: Client, changed: Callable[[MemoryObject], MemoryObject], error: str
) -> None:
    path = await ada.upload(
        checksum=f"crc32:{b64encode(zlib.crc32(HELLO).to_bytes(4, 'big')).decode()}"
    )
    [key] = ada.objects.objects
    ada.objects.objects[key] = changed(ada.objects.objects[key])

    assert await ada.error("POST", f"{path}/complete") == f"422 {error}"

    assert ada.objects.objects == {}
    assert await ada.listed() == []
    assert await ada.error("POST", f"{path}/complete") == "404 files.not_found"


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("image/png", b"<svg onload='alert(1)'/>"),
        ("image/jpeg", b"\x89PNG\r\n\x1a\n"),
        ("application/pdf", b"<html>"),
        ("text/plain", b"\xff\xfe\x00"),
        ("text/plain", b"a\0b"),
        ("video/mp4", b"\0\0\0\x10ftypavif\0\0\0\0"),
    ],
)
async def test_content_of_another_type_is_refused_and_removed(
    ada: Client, content_type: str, content: bytes
) -> None:
    path = await ada.upload(content, contentType=content_type)

    assert await ada.error("POST", f"{path}/complete") == "422 files.content_mismatch"
    assert ada.objects.objects == {}


@pytest.mark.parametrize(
    "body",
    [
        {"contentType": "image/svg+xml"},
        {"contentType": "text/html"},
        {"contentType": "png"},
        {"contentType": "text/plain; charset=utf-8"},
        {"size": 0},
        {"size": -1},
        {"size": 1.0},
        {"size": 2**30 + 1},
        {"name": ""},
        {"name": "a\r\nb"},
        {"name": "a\0b"},
        {"name": "\u202egpj.exe"},
        {"name": "🙂" * 257},
        {"name": "x" * 1025},
        {"checksum": "md5:AAAA"},
        {"checksum": "sha256:AAAA"},
        {"checksum": "crc32:****"},
        {"checksum": f"sha256:{b64encode(bytes(32)).decode()}", "size": LARGE},
        {"visibility": "public"},
    ],
    ids=str,
)
async def test_a_file_that_breaks_a_rule_is_refused(ada: Client, body: dict[str, Any]) -> None:
    response = await ada.try_to_start(**body)

    assert response.status_code == 422
    assert [error["loc"] for error in response.json()["errors"]] == [["body", next(iter(body))]]
    assert files_of(ada.web.world) == []


# --- parts --------------------------------------------------------------------------------------


async def test_a_large_file_is_uploaded_in_parts_and_can_be_resumed(ada: Client) -> None:
    content = b"x" * LARGE
    started = await ada.start(size=LARGE)
    path = f"/{started['file']['id']}"
    first, _, third = started["parts"]

    assert started["upload"] is None
    assert (started["partSize"], started["partCount"]) == (8 * MIB, 3)
    assert [part["size"] for part in started["parts"]] == [8 * MIB, 8 * MIB, 5]
    assert ada.objects.send(first["url"], content[: 8 * MIB]) == 200
    assert ada.objects.send(third["url"], content[:5]) == 200
    arrived = (await ada.ask("GET", f"{path}/parts")).json()["data"]
    assert arrived == [{"number": 1, "size": 8 * MIB}, {"number": 3, "size": 5}]
    incomplete = await ada.ask("POST", f"{path}/complete")
    assert incomplete.json()["error"] == "files.incomplete"
    assert incomplete.json()["detail"].endswith(": 2")

    await ada.web.world.pass_time(hours=1)
    ada = await ada.again()
    [again] = (await ada.ask("POST", f"{path}/parts", json={"numbers": [2]})).json()["data"]
    assert ada.objects.send(again["url"], content[: 8 * MIB]) == 200
    assert (await ada.ask("POST", f"{path}/complete")).status_code == 200


async def large(ada: Client, **body: Any) -> tuple[str, list[str]]:
    """Start an upload in parts and send all of them; return the path, and the URLs."""
    started = await ada.start(size=LARGE, **body)
    for part in started["parts"]:
        assert ada.objects.send(part["url"], b"x" * part["size"]) == 200
    return f"/{started['file']['id']}", [part["url"] for part in started["parts"]]


async def test_parts_become_a_file(ada: Client) -> None:
    crc = zlib.crc32(b"x" * LARGE).to_bytes(4, "big")
    path, _ = await large(ada, checksum=f"crc32:{b64encode(crc).decode()}")

    completed = await ada.ask("POST", f"{path}/complete")

    assert completed.json()["data"]["state"] == "stored"
    assert await ada.error("GET", f"{path}/parts") == "409 files.stored"
    assert await ada.error("POST", f"{path}/parts", json={"numbers": [1]}) == "409 files.stored"


async def test_a_wrong_checksum_of_all_parts_is_refused(ada: Client) -> None:
    path, _ = await large(ada, checksum="crc32:AAAAAA==")

    assert await ada.error("POST", f"{path}/complete") == "422 files.checksum_mismatch"
    assert (ada.objects.objects, ada.objects.uploads) == ({}, {})


async def test_a_completion_whose_answer_was_lost_is_found_done(ada: Client) -> None:
    """The process ended after the store had made the object."""
    path, _ = await large(ada)
    original = ada.objects.head

    async def fail(key: str) -> None:
        raise Unavailable("S3")

    ada.objects.head = fail  # type: ignore[method-assign]
    assert await ada.error("POST", f"{path}/complete") == "503 platform.unavailable"
    ada.objects.head = original  # type: ignore[method-assign]

    assert (await ada.ask("POST", f"{path}/complete")).status_code == 200


async def test_an_object_that_is_not_of_this_upload_is_refused(ada: Client) -> None:
    started = await ada.start(size=LARGE)
    file = started["file"]["id"]
    [stored] = files_of(ada.web.world)
    await ada.objects.purge(stored.key)
    await ada.objects.put(stored.key, b"x" * LARGE, media_type=stored.media_type)

    assert await ada.error("POST", f"/{file}/complete") == "409 files.not_uploaded"


@pytest.mark.parametrize(
    "numbers", [[], [0], [4], [1, 1], [*range(1, 102)], ["1"], [1.0], [True], None], ids=str
)
async def test_parts_that_do_not_exist_are_not_signed(ada: Client, numbers: object) -> None:
    started = await ada.start(size=LARGE)

    path = f"/{started['file']['id']}/parts"
    response = await ada.ask("POST", path, json={"numbers": numbers})

    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"][:2] == ["body", "numbers"]


async def test_a_small_file_has_no_parts(ada: Client) -> None:
    started = await ada.start()
    path = f"/{started['file']['id']}/parts"

    assert await ada.error("GET", path) == "409 files.not_in_parts"
    assert await ada.error("POST", path, json={"numbers": [1]}) == "409 files.not_in_parts"


# --- abort, delete ------------------------------------------------------------------------------


async def test_an_aborted_upload_is_gone_and_leaves_room(ada: Client) -> None:
    path, urls = await large(ada)

    assert (await ada.ask("DELETE", f"{path}/upload")).status_code == 200

    for method, of in (
        ("GET", ""),
        ("GET", "/parts"),
        ("POST", "/complete"),
        ("DELETE", "/upload"),
    ):
        assert await ada.error(method, f"{path}{of}") == "404 files.not_found"
    assert await ada.listed() == []
    await ada.web.world.container.purge_files()()
    assert ada.objects.uploads == {}
    assert ada.objects.send(urls[0], b"x" * 8 * MIB) == 404


async def test_a_stored_file_cannot_be_aborted(ada: Client) -> None:
    """As clients do who have not received the answer to their completion."""
    path = await ada.store()

    assert await ada.error("DELETE", f"{path}/upload") == "409 files.stored"
    assert (await ada.ask("GET", f"{path}/url")).status_code == 200


async def test_an_upload_that_is_being_completed_is_not_aborted(ada: Client) -> None:
    path = await ada.upload()
    aborted: list[str] = []
    original = ada.objects.head

    async def abort_meanwhile(key: str) -> Any:
        aborted.append(await ada.error("DELETE", f"{path}/upload"))
        return await original(key)

    ada.objects.head = abort_meanwhile  # type: ignore[method-assign]

    assert (await ada.ask("POST", f"{path}/complete")).status_code == 200
    assert aborted == ["409 files.busy"]


async def test_a_file_that_is_deleted_while_it_is_completed_is_deleted(ada: Client) -> None:
    path = await ada.upload()
    original = ada.objects.head

    async def delete_meanwhile(key: str) -> Any:
        await ada.ask("DELETE", path)
        return await original(key)

    ada.objects.head = delete_meanwhile  # type: ignore[method-assign]

    assert await ada.error("POST", f"{path}/complete") == "404 files.not_found"
    assert await ada.listed() == []


async def test_a_completion_that_dies_keeps_others_out_for_a_minute(ada: Client) -> None:
    path = await ada.upload()
    [file] = files_of(ada.web.world)
    file.claim_completion(file.id, at=ada.web.world.clock.now())

    assert await ada.error("POST", f"{path}/complete") == "409 files.busy"
    await ada.web.world.pass_time(seconds=61)
    assert (await ada.ask("POST", f"{path}/complete")).status_code == 200


async def test_a_deleted_file_is_gone(ada: Client) -> None:
    path = await ada.store()

    assert (await ada.ask("DELETE", path)).status_code == 200

    for method, of in (("GET", ""), ("GET", "/url"), ("POST", "/complete"), ("DELETE", "")):
        assert await ada.error(method, f"{path}{of}") == "404 files.not_found"
    await ada.web.world.container.purge_files()()
    assert ada.objects.objects == {}


async def test_files_of_a_deleted_user_are_deleted(admin_web: Web) -> None:
    user = await admin_web.world.given(a_user())
    ada = Client(admin_web, user, await admin_web.bearer(user))
    await ada.store()

    assert (await admin_web.client.delete(f"/api/v1/users/{user.id}")).status_code == 200

    [file] = files_of(admin_web.world)
    assert (file.state, file.reason) == (FileState.DELETED, "owner_deleted")


# --- quotas -------------------------------------------------------------------------------------


async def test_a_quota_holds_when_many_uploads_begin_at_once(ada: Client) -> None:
    answers = await asyncio.gather(*(ada.try_to_start() for _ in range(50)))

    codes = [answer.status_code for answer in answers]
    assert (codes.count(201), codes.count(409)) == (20, 30)
    assert {a.json()["error"] for a in answers if a.status_code == 409} == {"files.quota_exceeded"}


async def test_an_aborted_upload_makes_room_for_one_more(ada: Client) -> None:
    started = [await ada.start() for _ in range(20)]
    await ada.ask("DELETE", f"/{started[0]['file']['id']}/upload")

    assert (await ada.try_to_start()).status_code == 201
    assert (await ada.try_to_start()).status_code == 409


async def test_all_files_together_have_a_size(ada: Client) -> None:
    for _ in range(10):
        await ada.start(size=2**30)

    assert (await ada.try_to_start(size=1)).json()["error"] == "files.quota_exceeded"


# --- downloads ----------------------------------------------------------------------------------


async def download(client: Client, path: str, **params: str) -> tuple[str, str]:
    """Return the type and the disposition that a URL is bound to."""
    response = await client.ask("GET", f"{path}/url", params=params)
    query = parse_qs(urlsplit(response.json()["data"]["url"]).query)
    return query["type"][0], query["disposition"][0]


async def test_a_file_is_downloaded_under_its_name(ada: Client) -> None:
    path = await ada.store(name='a "b"\\ é.txt')

    media_type, disposition = await download(ada, path)

    assert media_type == "text/plain"
    assert disposition == (
        "attachment; filename=\"a _b__ _.txt\"; filename*=UTF-8''a%20%22b%22%5C%20%C3%A9.txt"
    )


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "🙂" * 256, "a\u200fb\u0301", "x" * 1024, "'%;=\"", "C:\\a"]
)
async def test_names_are_just_names(ada: Client, name: str) -> None:
    path = await ada.store(name=name)

    _, disposition = await download(ada, path)

    assert disposition.isascii()
    assert disposition.isprintable()
    assert unquote(disposition.partition("filename*=UTF-8''")[2]) == name
    assert [*ada.objects.objects] == [f"users/{ada.user.id}{path}"]
    assert (await ada.listed())[0]["name"] == name


PNG = b"\x89PNG\r\n\x1a\n"


async def test_only_what_a_browser_does_not_execute_is_shown() -> None:
    types = ("image/png", "image/svg+xml", "text/html")
    settings = replace(IN_MEMORY, files=FilesSettings(types=types))
    world = World(settings)
    async with Web(world) as web:
        user = await world.given(a_user())
        ada = Client(web, user, await web.bearer(user))
        shown = {}
        for content_type, content in (
            ("image/png", PNG),
            ("image/svg+xml", b"<svg/>"),
            ("text/html", b"<p>"),
        ):
            path = await ada.store(content, contentType=content_type)
            _, disposition = await download(ada, path, disposition="inline")
            shown[content_type] = disposition.partition(";")[0]
    world.end()

    assert shown == {
        "image/png": "inline",
        "image/svg+xml": "attachment",
        "text/html": "attachment",
    }


async def test_an_upload_cannot_be_downloaded(ada: Client) -> None:
    path = await ada.upload()

    assert await ada.error("GET", f"{path}/url") == "409 files.not_stored"


# --- others -------------------------------------------------------------------------------------


async def test_no_user_reads_signs_completes_or_deletes_the_file_of_another(
    ada: Client, ben: Client
) -> None:
    private, (upload, _) = await ada.store(), await large(ada)

    for path in (private, upload):
        for method, of in (
            *(("GET", ""), ("GET", "/url"), ("GET", "/parts"), ("POST", "/complete")),
            *(("DELETE", ""), ("DELETE", "/upload")),
        ):
            assert await ben.error(method, f"{path}{of}") == "404 files.not_found"
        assert (
            await ben.error("POST", f"{path}/parts", json={"numbers": [1]}) == "404 files.not_found"
        )
    assert await ben.listed() == []
    assert len(await ada.listed()) == 2


async def test_a_shared_file_can_be_read_by_every_user_and_deleted_by_its_owner(
    ada: Client, ben: Client
) -> None:
    path, open_upload = await ada.store(visibility="shared"), await ada.upload(visibility="shared")

    assert (await ben.ask("GET", path)).json()["data"]["owner"] == str(ada.user.id)
    assert (await ben.ask("GET", f"{path}/url")).status_code == 200
    assert await ben.error("DELETE", path) == "404 files.not_found"
    assert await ben.error("GET", open_upload) == "404 files.not_found"
    assert await ben.listed() == []


async def test_holders_of_the_permission_see_and_delete_files_of_others(ada: Client) -> None:
    path = await ada.store()
    role = a_role("*:/api/v1/users/*/files/**")
    keeper = await ada.web.world.given(a_user(), role)
    headers = await ada.web.bearer(keeper)
    of_ada = f"/api/v1/users/{ada.user.id}/files"

    client = ada.web.client
    listed = await client.get(of_ada, headers=headers)
    assert [file["id"] for file in listed.json()["data"]["records"]] == [path[1:]]
    assert (await client.get(f"{of_ada}{path}", headers=headers)).status_code == 200
    assert (await client.get(f"{of_ada}{path}/url", headers=headers)).status_code == 200
    assert (await client.delete(f"{of_ada}{path}", headers=headers)).status_code == 200
    assert await ada.listed() == []
    assert ada.web.world.audit_entries()[-1].actor == keeper.id


# --- a store that is down -----------------------------------------------------------------------


async def fail(*_: object, **__: object) -> Any:
    raise Unavailable("S3")


@pytest.mark.parametrize(
    ("size", "method"), [(5, "head"), (LARGE, "start_upload")], ids=["one request", "in parts"]
)
async def test_an_upload_does_not_begin_while_the_store_is_down(
    ada: Client, monkeypatch: pytest.MonkeyPatch, size: int, method: str
) -> None:
    monkeypatch.setattr(MemoryObjectStore, method, fail)

    assert (await ada.try_to_start(size=size)).status_code == 503
    assert await ada.listed() == []


@pytest.mark.parametrize("method", ["list_parts", "finish_upload", "head", "read"])
async def test_a_completion_can_be_repeated_when_the_store_is_back(
    ada: Client, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    path, _ = await large(ada)
    with monkeypatch.context() as patched:
        patched.setattr(MemoryObjectStore, method, fail)
        assert await ada.error("POST", f"{path}/complete") == "503 platform.unavailable"

    assert (await ada.ask("POST", f"{path}/complete")).status_code == 200


async def test_a_file_can_be_deleted_while_the_store_is_down(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its object is removed when the store is back."""
    path = await ada.store()
    purge = ada.web.world.container.purge_files()
    with monkeypatch.context() as patched:
        patched.setattr(MemoryObjectStore, "purge", fail)
        assert (await ada.ask("DELETE", path)).status_code == 200
        with pytest.raises(Unavailable):
            await purge()
    assert len(ada.objects.objects) == 1

    await ada.web.world.pass_time(minutes=2)
    assert await purge() == 1
    assert ada.objects.objects == {}


async def test_an_object_that_cannot_be_removed_holds_up_no_other(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [await ada.store() for _ in range(3)]
    for path in paths:
        await ada.ask("DELETE", path)
    locked = f"users/{ada.user.id}{paths[0]}"
    purge_object = MemoryObjectStore.purge

    async def purge_all_but_one(objects: MemoryObjectStore, key: str) -> None:
        if key == locked:
            raise Unavailable("S3", reason="it answers AccessDenied")
        await purge_object(objects, key)

    purge = ada.web.world.container.purge_files()
    with monkeypatch.context() as patched:
        patched.setattr(MemoryObjectStore, "purge", purge_all_but_one)
        with pytest.raises(Unavailable):
            await purge()
    assert [*ada.objects.objects] == [locked]

    await ada.web.world.pass_time(minutes=2)
    assert await purge() == 1


# --- jobs ---------------------------------------------------------------------------------------


async def test_unfinished_uploads_are_given_up(ada: Client) -> None:
    world = ada.web.world
    for _ in range(3):
        await large(ada)
    kept = await ada.store()
    expire, purge = world.container.expire_uploads(), world.container.purge_files()

    await world.pass_time(hours=23)
    assert await expire() == 0
    await world.pass_time(hours=1)
    assert await expire() == 3
    assert await purge() == 3

    assert ada.objects.uploads == {}
    ada = await ada.again()
    assert [file["id"] for file in await ada.listed()] == [kept[1:]]


async def test_an_object_is_removed_once_more_when_the_last_url_has_expired(ada: Client) -> None:
    """Until then a client that has the URL can upload it again."""
    started = await ada.start()
    url = started["upload"]["url"]
    await ada.ask("DELETE", f"/{started['file']['id']}")
    purge = ada.web.world.container.purge_files()
    assert await purge() == 1
    assert ada.objects.send(url, HELLO) == 200

    await ada.web.world.pass_time(minutes=19)
    assert await purge() == 0
    await ada.web.world.pass_time(minutes=1)
    assert await purge() == 1

    assert ada.objects.objects == {}
    assert files_of(ada.web.world) == []


async def compared(ada: Client, *, delete: bool) -> Any:
    use_case = ada.web.world.container.compare_files()
    settings = replace(use_case.settings, delete_orphans=delete)
    return await replace(use_case, settings=settings)()


async def orphan(ada: Client, number: int = 1) -> str:
    key = f"users/{ada.user.id}/00000000-0000-0000-0000-{number:012}"
    await ada.objects.put(key, HELLO, media_type=(await a_type(ada)))
    return key


async def a_type(ada: Client) -> Any:
    return files_of(ada.web.world)[0].media_type


async def test_objects_without_files_and_files_without_objects_are_reported(ada: Client) -> None:
    lost, kept, pending = await ada.store(), await ada.store(), await ada.upload()
    key = await orphan(ada)
    await ada.objects.put("of/somebody/else", HELLO, media_type=await a_type(ada))
    await ada.objects.purge(f"users/{ada.user.id}{lost}")

    fresh = await compared(ada, delete=False)
    await ada.web.world.pass_time(days=3)
    found = await compared(ada, delete=False)

    assert fresh.orphans == []
    assert found.orphans == [key]
    assert found.missing == [f"users/{ada.user.id}{lost}"]
    assert (found.objects, found.deleted) == (3, 0)
    assert kept != pending
    assert key in ada.objects.objects


async def test_orphans_are_deleted_only_from_a_bucket_that_is_marked(ada: Client) -> None:
    await ada.store()
    key = await orphan(ada)
    await ada.web.world.pass_time(days=3)

    first = await compared(ada, delete=True)
    second = await compared(ada, delete=True)

    assert (first.deleted, first.refused) == (0, "the bucket had no marker; it is marked now")
    assert (second.deleted, second.refused) == (1, "")
    assert key not in ada.objects.objects
    assert len(ada.objects.objects) == 2


async def test_nothing_is_deleted_from_the_bucket_of_another_database(ada: Client) -> None:
    await ada.store()
    key = await orphan(ada)
    await ada.objects.put(".portico", b"another", media_type=await a_type(ada))
    await ada.web.world.pass_time(days=3)

    found = await compared(ada, delete=True)

    assert found.refused.startswith("the bucket belongs to another database")
    assert key in ada.objects.objects


async def test_nothing_is_deleted_if_there_are_many_orphans(ada: Client) -> None:
    """As there are in a database that was restored from a backup."""
    await ada.store()
    for number in range(1, 3):
        await orphan(ada, number)
    await ada.web.world.pass_time(days=3)
    await compared(ada, delete=True)

    found = await compared(ada, delete=True)

    assert found.refused == "2 of 3 objects are too many"
    assert len(ada.objects.objects) == 4


async def test_a_comparison_reads_page_by_page(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("application.use_cases.files.cleanup._PAGE", 2)
    paths = [await ada.store() for _ in range(7)]
    keys = {await orphan(ada, number) for number in range(5)}
    await ada.objects.purge(f"users/{ada.user.id}{paths[3]}")
    await ada.web.world.pass_time(days=3)

    found = await compared(ada, delete=False)

    assert {*found.orphans} == keys
    assert found.missing == [f"users/{ada.user.id}{paths[3]}"]
    assert found.objects == 11


async def test_keys_of_others_behind_ours_cost_no_question_for_each_file(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("application.use_cases.files.cleanup._PAGE", 2)
    for _ in range(3):
        await ada.store()
    for number in range(5):
        await ada.objects.put(f"videos/{number}", HELLO, media_type=await a_type(ada))

    with monkeypatch.context() as patched:
        patched.setattr(MemoryObjectStore, "head", fail)
        found = await compared(ada, delete=False)

    assert (found.objects, found.orphans, found.missing) == (3, [], [])


async def test_no_url_outlives_its_time(ada: Client) -> None:
    started = await ada.start()

    await ada.web.world.clock.pass_time(timedelta(minutes=15))

    assert ada.objects.send(started["upload"]["url"], HELLO) == 403


# --- avatars ------------------------------------------------------------------------------------

AVATAR = "/api/v1/auth/user/avatar"


async def set_avatar(ada: Client, content: bytes = PNG) -> httpx.Response:
    headers = {**ada.headers, "Content-Type": "image/png"}
    return await ada.web.client.put(AVATAR, content=content, headers=headers)


async def test_an_avatar_is_shown_to_every_user(ada: Client, ben: Client) -> None:
    assert (await ada.web.client.get(AVATAR, headers=dict(ada.headers))).status_code == 404

    answer = await set_avatar(ada)

    assert answer.status_code == 200, answer.text
    avatar = answer.json()["data"]
    assert (avatar["contentType"], avatar["visibility"]) == ("image/webp", "shared")
    found = await ada.web.client.get(AVATAR, headers=dict(ada.headers))
    assert found.json()["data"] == avatar
    media_type, disposition = await download(ben, f"/{avatar['id']}", disposition="inline")
    assert (media_type, disposition.partition(";")[0]) == ("image/webp", "inline")
    assert await ada.listed() == []


async def test_a_new_avatar_takes_the_place_of_the_old_one(ada: Client) -> None:
    old = (await set_avatar(ada)).json()["data"]["id"]

    new = (await set_avatar(ada)).json()["data"]["id"]

    assert await ada.error("GET", f"/{old}") == "404 files.not_found"
    await ada.web.world.container.purge_files()()
    assert [*ada.objects.objects] == [f"users/{ada.user.id}/{new}"]


async def test_of_many_avatars_at_once_one_stays(ada: Client) -> None:
    answers = await asyncio.gather(*(set_avatar(ada) for _ in range(5)))

    assert {answer.status_code for answer in answers} == {200}
    stored = [file for file in files_of(ada.web.world) if file.state is FileState.STORED]
    assert len(stored) == 1


async def test_content_that_is_no_image_is_no_avatar(ada: Client) -> None:
    answer = await set_avatar(ada, b"<svg/>")

    assert (answer.status_code, answer.json()["error"]) == (422, "files.not_an_image")


async def test_an_avatar_may_be_larger_than_other_bodies_but_not_than_its_limit(
    ada: Client,
) -> None:
    assert (await set_avatar(ada, PNG + bytes(2 * MIB - len(PNG)))).status_code == 200
    assert (await set_avatar(ada, PNG + bytes(2 * MIB))).status_code == 413
    other = await ada.web.client.post(AVATAR, content=bytes(MIB), headers=dict(ada.headers))
    assert other.status_code == 405


async def test_the_old_avatar_stays_while_the_store_is_down(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = (await set_avatar(ada)).json()["data"]
    with monkeypatch.context() as patched:
        patched.setattr(MemoryObjectStore, "put", fail)
        assert (await set_avatar(ada)).status_code == 503

    found = await ada.web.client.get(AVATAR, headers=dict(ada.headers))
    assert found.json()["data"] == old
