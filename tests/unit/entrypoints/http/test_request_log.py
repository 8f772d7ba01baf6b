"""When the lines of requests are written, and whose facts they have."""

import asyncio
import logging
from collections.abc import Iterator
from contextvars import Context
from uuid import UUID

import pytest
import structlog

from entrypoints.http.request_context import RequestContext, begin_request
from entrypoints.http.request_log import RequestLog


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, "portico.http"):
        yield


def ended(log: RequestLog, request_id: str, *, user_id: UUID | None = None) -> None:
    """Add the line of a request in a context of its own, as each has."""

    def end() -> None:
        structlog.contextvars.bind_contextvars(request_id=request_id, somebody=user_id)
        scope = {"type": "http", "path": "/x"}
        context: RequestContext = begin_request(scope, request_id, {}, "192.0.2.1")
        context.user_id = user_id
        log.add(scope, "GET", context, 0.001)

    Context().run(end)


async def test_lines_are_written_once_the_turn_of_the_event_loop_has_ended() -> None:
    log = RequestLog()
    with structlog.testing.capture_logs() as lines:
        ended(log, "first")
        ended(log, "second")
        assert lines == []
        await asyncio.sleep(0)
        ended(log, "third")
        await asyncio.sleep(0)

    assert [line["request_id"] for line in lines] == ["first", "second", "third"]


async def test_a_line_has_no_facts_of_another_request_that_ends_in_the_same_turn() -> None:
    log = RequestLog()
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        ended(log, "known", user_id=UUID(int=1))
        ended(log, "unknown")
        await asyncio.sleep(0)

    known, unknown = lines
    assert known["user_id"] == UUID(int=1)
    assert unknown["request_id"] == "unknown"
    assert "user_id" not in unknown
    assert "somebody" not in unknown


def test_a_process_that_stops_writes_the_lines_of_its_last_turn() -> None:
    async def main() -> None:
        ended(RequestLog(), "last")

    with structlog.testing.capture_logs() as lines:
        asyncio.run(main())

    assert [line["request_id"] for line in lines] == ["last"]
