"""SIGTERM, between a process that serves and one that stops."""

import asyncio
import signal
from collections.abc import Iterator
from datetime import timedelta

import pytest

from entrypoints.http.draining import Draining


@pytest.fixture
def stopped() -> Iterator[asyncio.Event]:
    """Stand in for uvicorn, which stops at a SIGTERM."""
    event = asyncio.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    yield event
    signal.signal(signal.SIGTERM, before)


async def test_a_process_drains_before_it_stops(stopped: asyncio.Event) -> None:
    draining = Draining(timedelta(milliseconds=1))

    with draining.on_sigterm():
        signal.raise_signal(signal.SIGTERM)
        assert draining.has_begun
        assert not stopped.is_set()
        async with asyncio.timeout(5):
            await stopped.wait()


async def test_connections_that_no_answer_ends_are_closed_while_a_process_drains(
    stopped: asyncio.Event,
) -> None:
    class WebSocket:
        is_told: asyncio.Future[float]

        def close_within(self, seconds: float) -> None:
            self.is_told.set_result(seconds)

    draining, connection = Draining(timedelta(hours=1)), WebSocket()
    connection.is_told = asyncio.get_running_loop().create_future()
    draining.lasting.add(connection)

    with draining.on_sigterm():
        signal.raise_signal(signal.SIGTERM)
        assert await connection.is_told == 3600
        assert not stopped.is_set()


async def test_a_second_signal_ends_the_drain(stopped: asyncio.Event) -> None:
    with Draining(timedelta(hours=1)).on_sigterm():
        signal.raise_signal(signal.SIGTERM)
        assert not stopped.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert stopped.is_set()


async def test_without_time_to_drain_a_process_stops_at_once(stopped: asyncio.Event) -> None:
    draining = Draining(timedelta(0))

    with draining.on_sigterm():
        signal.raise_signal(signal.SIGTERM)

    assert stopped.is_set()
    assert not draining.has_begun


async def test_after_the_end_the_server_has_its_signal_back(stopped: asyncio.Event) -> None:
    with Draining(timedelta(hours=1)).on_sigterm():
        pass

    signal.raise_signal(signal.SIGTERM)

    assert stopped.is_set()
