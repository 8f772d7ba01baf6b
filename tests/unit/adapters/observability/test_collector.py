"""What a collector of traces is sent, and what `portico doctor` says of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from adapters.observability.collector import collector_headers
from adapters.observability.traces import Traces
from adapters.system import SystemClock
from application.settings import TracesSettings
from entrypoints.cli.doctor import Finding, traces
from tests.support.spans import ALWAYS
from tests.support.world import IN_MEMORY

HEADERS = "authorization=Bearer%20a-token=,x-tenant=portico"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@asynccontextmanager
async def collector(status: str = "200 OK") -> AsyncIterator[tuple[TracesSettings, list[str]]]:
    """Give every request this answer; yield the settings for it, and the heads of requests."""
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        yield replace(ALWAYS, url=f"http://127.0.0.1:{port}/", headers=HEADERS), heads


async def said(settings: TracesSettings) -> list[Finding]:
    return await traces(replace(IN_MEMORY, traces=settings), SystemClock())


def is_with_the_credentials(head: str) -> bool:
    return (
        head.startswith("post /v1/traces http/1.1\r\n")
        and "\r\nauthorization: bearer a-token=\r\n" in head
        and "\r\nx-tenant: portico\r\n" in head
    )


async def test_spans_are_sent_with_the_headers_of_the_setting() -> None:
    async with collector() as (settings, heads):
        sent = Traces(settings, "test")
        with sent.span("job", "consumer"):
            pass
        await asyncio.to_thread(sent.close)

    assert [is_with_the_credentials(head) for head in heads] == [True]


async def test_the_doctor_asks_the_collector_as_spans_are_sent() -> None:
    async with collector() as (settings, heads):
        assert await said(settings) == [Finding(check="traces", detail="reach the collector")]

    assert [is_with_the_credentials(head) for head in heads] == [True]


async def test_the_doctor_warns_of_a_collector_that_refuses_or_is_away() -> None:
    async with collector("401 Unauthorized") as (settings, _):
        (refused,) = await said(settings)
    (away,) = await said(settings)

    assert refused.detail.endswith("it answers 401; are PORTICO_TRACES_HEADERS the right ones?")
    assert away.detail.endswith("connection refused: nothing listens there")
    assert refused.warning
    assert away.warning
    assert (refused.exit_code, away.exit_code) == (0, 0)
    assert "token" not in refused.detail + away.detail


async def test_without_traces_the_doctor_says_nothing_of_them() -> None:
    assert await said(TracesSettings()) == []


def test_without_the_setting_no_header_is_sent() -> None:
    assert collector_headers(ALWAYS) == {}
