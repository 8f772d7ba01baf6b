"""A rolling restart under load: no client sees it, not even one that keeps its connection and never tries again.

Half of them ask a guarded route, which needs PostgreSQL, Redis and a token until the process has answered its last
request. The metrics of all its processes together, of those that have ended too, count each request. A signal to stop
ends a restart.
"""

import asyncio
import re
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from local_stack.servers import choose_ports
from tests.e2e.command import Started, portico, starting
from tests.e2e.fleet import ADMINISTRATOR, answers, log_in, variables_of
from tests.support.plain_http import NO_TLS
from tests.support.servers import Servers

pytestmark = [pytest.mark.server, pytest.mark.timeout(400)]

CLIENTS = 48
GUARDED = "/api/v1/roles"


def request(path: str, headers: Mapping[str, str]) -> bytes:
    """Return a GET request."""
    lines = [f"{name}: {value}\r\n" for name, value in {"Host": "portico.test", **headers}.items()]
    return f"GET {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


async def client(port: int, sent: bytes, ended: asyncio.Event, seen: Counter[str]) -> None:
    """Send one request after the other over one connection, and open another one only when told that it closes."""
    path = sent.split()[1].decode()
    while not ended.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        seen["connections"] += 1
        closes = False
        while not closes and not ended.is_set():
            try:
                writer.write(sent)
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head.lower())
                assert length is not None, head
                await reader.readexactly(int(length[1]))
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                seen[f"failed: {error!r}"] += 1
                break
            seen[path if head.startswith(b"HTTP/1.1 200 ") else f"failed: {head!r}"] += 1
            closes = b"connection: close" in head.lower()
            await asyncio.sleep(0.02)
        writer.close()


def workers(api: Started) -> set[int]:
    """Return the ids of the processes that serve."""
    found = set()
    for child in psutil.Process(api.process.pid).children():
        with suppress(psutil.Error):  # it has just ended
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


async def replaced(api: Started, old: set[int]) -> None:
    """Return once two other processes serve in place of `old`."""
    async with asyncio.timeout(300):
        while len(now := workers(api)) != 2 or now & old:
            assert api.process.poll() is None, api.said()
            await asyncio.sleep(0.1)


def test_a_rolling_restart_fails_no_request(servers: Servers, worker: int, tmp_path: Path) -> None:
    port = choose_ports(("http",), {})["http"]
    variables = variables_of(servers, worker, PORTICO_HTTP_DRAIN="500ms")
    url = f"http://127.0.0.1:{port}"
    command = ("api", "--port", str(port), "--workers", "2")
    with starting(*command, directory=tmp_path, **variables) as api:
        created = portico("create-admin", directory=tmp_path, **variables)
        assert created.returncode == 0, created.stderr
        api.wait_until(lambda: answers(url))

        seen = asyncio.run(restarted_under_load(api, port))

        metrics = httpx.get(f"{url}/metrics").text
        assert replaced_when_stopped(api) <= 1
    for route in ("/livez", GUARDED):
        counted = re.search(
            rf'requests_total{{method="GET",route="{route}",status="200"}} (\S+)', metrics
        )
        assert counted is not None
        assert float(counted[1]) == seen[route] > 0
    assert [what for what in seen if what.startswith("failed")] == []
    assert seen["connections"] >= 2 * CLIENTS  # each was told to leave


def replaced_when_stopped(api: Started) -> int:
    """Begin another restart, stop the API, and return how many processes were replaced before it did."""
    old, started = workers(api), api.said().count("Started server process")
    api.process.send_signal(signal.SIGHUP)
    api.wait_until(lambda: bool(workers(api) - old))
    assert api.stop(signal.SIGTERM) == 0
    return api.said().count("Started server process") - started


async def restarted_under_load(api: Started, port: int) -> Counter[str]:
    """Return what the clients have seen until both processes were replaced."""
    old, ended, seen = workers(api), asyncio.Event(), Counter[str]()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS) as http:
        token = await log_in(http, ADMINISTRATOR)
    sent = (request("/livez", {}), request(GUARDED, token))
    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(client(port, sent[number % 2], ended, seen))
        api.process.send_signal(signal.SIGHUP)
        await replaced(api, old)
        ended.set()
    return seen
