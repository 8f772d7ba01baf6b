"""Several API processes as one: what is sent to one arrives on the others, also when they are killed."""

from pathlib import Path

import pytest

from tests.e2e.chat import chat, check
from tests.support.servers import Servers

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

MESSAGES = 120


async def test_a_chat_loses_nothing_and_doubles_nothing_when_a_process_is_killed(
    servers: Servers, worker: int, tmp_path: Path
) -> None:
    """`make chat` is the long form: 10,000 messages and 20 kills."""
    outcome = await chat(servers, tmp_path, messages=MESSAGES, kills=1, worker=worker)

    check(outcome, messages=MESSAGES)
    assert max(map(len, outcome.live)) > 1  # most came live
