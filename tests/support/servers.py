"""The servers that tests speak to: configured ones, else containers, else the wheels of the local stack."""

import asyncio
import json
import os
import socket
import tempfile
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import pytest

from application.settings import S3Settings
from local_stack.lock import locked
from local_stack.stack import SERVERS, local_stack

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """How to reach one server of each kind, as a superuser."""

    postgres_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    mongo_url: str = field(repr=False)
    s3_url: str
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    s3_bucket: str


class ServersOfTheRun:
    """The servers of one pytest run, started when the first test asks, whichever process it is in.

    They live in a thread of the process that pytest was started in. The workers of xdist ask it through
    a socket whose path is `address`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="servers", daemon=True)
        self._directory = tempfile.TemporaryDirectory(prefix="portico-test-")
        self._open = AsyncExitStack()
        self._servers: asyncio.Task[Servers] | None = None
        self.address = str(Path(self._directory.name) / "ask")
        self._thread.start()

    def get(self) -> Servers:
        """Return the servers; the first call starts them."""
        return self._run(self._started())

    def listen(self) -> None:
        """Answer the workers of xdist from now on."""
        self._run(self._listen())

    def close(self) -> None:
        """Stop what was started."""
        self._run(self._open.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._directory.cleanup()

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _started(self) -> Servers:
        if self._servers is None:
            self._servers = asyncio.create_task(self._start())
        return await asyncio.shield(self._servers)

    async def _start(self) -> Servers:
        variables = configured()
        missing = {name for name in SERVERS if f"PORTICO_{name.upper()}_URL" not in variables}
        if missing and engine_answers():
            from tests.support.containers import CONTAINERS  # noqa: PLC0415 - slow, and only with an engine

            for name in sorted(missing):
                variables |= self._open.enter_context(CONTAINERS[name]())
        elif missing:
            directory = Path(self._directory.name) / "stack"
            lock = await self._open.enter_async_context(locked(directory))
            stack = await self._open.enter_async_context(
                local_stack(directory, lock, start=missing, durable=False)
            )
            variables |= stack.variables
        given = {name.removeprefix("PORTICO_").lower(): v for name, v in variables.items()}
        return Servers(**{each.name: given[each.name] for each in fields(Servers)})

    async def _listen(self) -> None:
        server = await asyncio.start_unix_server(self._answer, self.address)
        self._open.push_async_callback(server.wait_closed)
        self._open.callback(server.close)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer: dict[str, object] = {"servers": asdict(await self._started())}
        except Exception as error:  # noqa: BLE001 - the worker that asked raises it
            answer = {"error": f"{type(error).__name__}: {error}"}
        writer.write(json.dumps(answer).encode())
        await writer.drain()
        writer.close()


def redis_urls(servers: Servers, worker: int) -> tuple[str, str]:
    """Return two databases of a worker: one of its tests, and one of the processes that a test file starts."""
    tests, processes = (
        urlunsplit(urlsplit(servers.redis_url)._replace(path=f"/{2 * worker + n}")) for n in (0, 1)
    )
    return tests, processes


def s3_of(servers: Servers) -> S3Settings:
    """Return the settings of the S3 server."""
    return S3Settings(
        url=servers.s3_url,
        bucket=servers.s3_bucket,
        access_key=servers.s3_access_key,
        secret_key=servers.s3_secret_key,
    )


def ask(address: str) -> Servers:
    """Return the servers of the run, from one of its workers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        with connection.makefile("rb") as answer:
            said = json.load(answer)
    if "error" in said:
        pytest.fail(said["error"], pytrace=False)
    return Servers(**said["servers"])


def configured() -> dict[str, str]:
    """Return what `PORTICO_TEST_POSTGRES_URL`, `PORTICO_TEST_S3_BUCKET` and the like say, without the `TEST_`."""
    variables = os.environ  # noqa: TID251 - these are the tests' own; the product refuses them
    prefix = "PORTICO_TEST_"
    return {
        name.replace(prefix, "PORTICO_"): value
        for name, value in variables.items()
        if name.startswith(prefix) and value
    }


def engine_answers() -> bool:
    """Tell whether there is a container engine to ask."""
    address = urlsplit(os.getenv("DOCKER_HOST", "unix:///var/run/docker.sock"))
    with suppress(OSError):
        if address.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as engine:
                engine.settimeout(2)
                engine.connect(address.path)
                engine.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in engine.recv(64)
        with socket.create_connection((address.hostname or "", address.port or 2375), timeout=2):
            return True
    return False
