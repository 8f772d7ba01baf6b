"""The server of a worker or a beat, which answers scrapes and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from ipaddress import ip_network

import pytest

from adapters.memory.metrics import MemoryMetrics
from application.metrics import BEAT_LEADER
from application.ports.metrics import Reading
from application.settings import MetricsSettings
from entrypoints.celery.metrics_server import listen, serving
from entrypoints.metrics_page import MetricsPage

TOKEN = "a token of a scraper"
SETTINGS = MetricsSettings(port=0, token=TOKEN)


async def _readings() -> Sequence[Reading]:
    return [Reading(BEAT_LEADER, 1)]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Serve to this host."""
    listener = listen(SETTINGS)
    async with serving(listener, SETTINGS, MetricsPage(MemoryMetrics(), _readings)):
        yield listener.getsockname()[1]


async def said_to(port: int, text: str) -> bytes:
    """Return all that the server answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_scrape_gets_the_metrics_and_the_end_of_the_connection(port: int) -> None:
    answer = await said_to(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == b"portico_beat_leader 1\n"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /metrics?x=1 HTTP/1.1", b"200"),
        ("GET / HTTP/1.1", b"404"),
        ("GET /metrics/x HTTP/1.1", b"404"),
        ("POST /metrics HTTP/1.1", b"405"),
        ("nonsense", b"404"),
    ],
)
async def test_nothing_else_is_served(port: int, request_line: str, status: bytes) -> None:
    assert (await said_to(port, f"{request_line}\r\n\r\n")).split(b" ")[1] == status


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Authorization: Bearer {TOKEN}", b"200"),
        ("authorization: Bearer another", b"403"),
        ("X-Forwarded-For: 127.0.0.1", b"403"),
    ],
)
async def test_the_rules_are_those_of_the_api(port: int, header: str, status: bytes) -> None:
    answer = await said_to(port, f"GET /metrics HTTP/1.1\r\n{header}\r\n\r\n")

    assert answer.split(b" ")[1] == status


async def test_an_address_that_is_not_allowed_gets_nothing() -> None:
    settings = MetricsSettings(port=0, allow=(ip_network("192.0.2.0/24"),))
    listener = listen(settings)
    async with serving(listener, settings, MetricsPage(MemoryMetrics(), _readings)):
        answer = await said_to(listener.getsockname()[1], "GET /metrics HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("text", ["", "GET /metrics HTTP/1.1\r\n", "x" * 20_000])
async def test_text_that_is_no_request_gets_no_answer(port: int, text: str) -> None:
    with suppress(ConnectionError):  # it may be cut off
        assert await said_to(port, text) == b""
