"""What answers at the address of the store may be ill, or no store at all: that is `Unavailable`, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from adapters.s3.client import S3Client
from adapters.s3.health import S3Probe
from adapters.s3.object_store import S3ObjectStore
from adapters.system import SystemClock
from application.settings import S3Settings
from domain.errors import Unavailable
from domain.files.content import MediaType
from domain.files.files import Part

KEY = "users/ada/one"
TEXT = MediaType("text/plain")
PARTS = [Part(1, 5, "5d41402abc4b2a76b9719d911017c592")]

CALLS: dict[str, Callable[[S3ObjectStore], Awaitable[object]]] = {
    "start_upload": lambda o: o.start_upload(KEY, media_type=TEXT, checksum=None),
    "list_parts": lambda o: o.list_parts(KEY, "upload"),
    "finish_upload": lambda o: o.finish_upload(KEY, "upload", PARTS, checksum=None),
    "head": lambda o: o.head(KEY),
    "read": lambda o: o.read(KEY, etag="e", limit=5),
    "put": lambda o: o.put(KEY, b"hello", media_type=TEXT),
    "purge": lambda o: o.purge(KEY),
    "list_objects": lambda o: o.list_objects(after="", limit=5),
}

_INTERNAL_ERROR = b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"
_HTML = b"<html>Please log in</html>"


def an_answer(status: int, body: bytes, *headers: str, length: int | None = None) -> bytes:
    head = (f"HTTP/1.1 {status} -", f"Content-Length: {len(body) if length is None else length}")
    return "".join(f"{line}\r\n" for line in (*head, *headers, "")).encode() + body


ANSWERS = {
    "500": an_answer(500, _INTERNAL_ERROR),
    "503-without-a-body": an_answer(503, b""),
    "error-after-200": an_answer(200, _INTERNAL_ERROR),
    "nothing": an_answer(200, b""),
    "page": an_answer(200, _HTML, "Content-Type: text/html"),
    "cut-off": an_answer(200, b"he", 'ETag: "e"', length=5),
    "no-answer": b"",
}


@asynccontextmanager
async def a_server() -> AsyncIterator[str]:
    """Serve the answer that the name of the bucket chooses, whole or not; return the address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            if "100-continue" in request:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            bucket = request.split("/")[1].partition("?")[0]
            head, end, body = ANSWERS[bucket].partition(b"\r\n\r\n")
            writer.write(head + end + (b"" if request.startswith("HEAD") else body))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_server_that_does_not_answer_like_a_store_is_unavailable() -> None:
    outcomes: dict[str, str] = {}

    async def call(name: str, objects: S3ObjectStore) -> None:
        try:
            outcome = repr(await CALLS[name](objects))
        except Exception as error:  # noqa: BLE001 - told below, for all calls together
            outcome = type(error).__name__
        outcomes[f"{name}: {objects._bucket}"] = outcome

    async with a_server() as url:
        settings = S3Settings(
            url=url, access_key="key", secret_key="secret", timeout=timedelta(seconds=30)
        )
        client, probe = S3Client(settings), S3Probe(settings, SystemClock())
        stores: list[S3ObjectStore] = []
        for client.bucket in ANSWERS:
            stores.append(S3ObjectStore(client, settings, probe))
        await asyncio.gather(*(call(name, store) for name in CALLS for store in stores))
        await client.aclose()

    assert len(outcomes) == len(CALLS) * len(ANSWERS)
    assert {call: said for call, said in outcomes.items() if said != Unavailable.__name__} == {}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_the_probe_follows_no_redirect(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that it names gets no signed request."""
    heard: list[str] = []

    async def hear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append("a connection")
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1") as elsewhere, a_server() as url:
        location = f"Location: http://127.0.0.1:{elsewhere.sockets[0].getsockname()[1]}/"
        monkeypatch.setitem(ANSWERS, "redirect", an_answer(status, b"", location))
        settings = S3Settings(url=url, bucket="redirect", access_key="key", secret_key="secret")
        with pytest.raises(Unavailable) as refused:
            await S3Probe(settings, SystemClock()).check()

    assert refused.value.reason == f"it answers {status}"
    assert heard == []
