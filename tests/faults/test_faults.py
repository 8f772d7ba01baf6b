"""Each server fails once under load; `make faults` is the long form."""

from pathlib import Path

import pytest

from tests.faults.faults import product
from tests.support.servers import Servers

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

LONGEST = 4.0
"""Seconds for an answer beside other tests; alone on a machine it is 2."""
RECOVERY = 6.0


async def test_a_server_that_fails_delays_and_loses_and_opens_nothing(
    servers: Servers, worker: int, tmp_path: Path
) -> None:
    async with product(servers, tmp_path, worker=worker) as running:
        outcomes = [
            await running.outcome_of(server, fault, seconds=2)
            for server, fault in (
                ("postgres", "reset"),
                ("redis", "reset"),
                ("mongo", "black hole"),
                ("s3", "refuse"),
                ("broker", "refuse"),
            )
        ]
        await running.check()

    for outcome in outcomes:
        assert outcome.wrong(longest=LONGEST) == [], outcome.row()
        assert outcome.recovered <= RECOVERY, outcome.row()
        if outcome.server in {"mongo", "s3", "broker"}:
            assert {answer.status for answer in outcome.during} & {200, 201}, outcome.row()
