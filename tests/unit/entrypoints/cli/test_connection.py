"""How commands wait for servers."""

import asyncio
from datetime import timedelta

import pytest

from application.ports.health import Probe
from entrypoints.cli import connection
from entrypoints.cli.connection import wait_for
from entrypoints.cli.errors import DependencyDown
from tests.support.world import World


class SlowProbe(Probe):
    """Answers after 50 ms, as if the machine had no CPU left for it."""

    name = "broker"
    required = True

    async def check(self) -> None:
        await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_ANSWER_WITHIN", timedelta(milliseconds=1))


async def test_a_slow_answer_counts_as_long_as_there_is_patience(world: World) -> None:
    """A busy machine makes a worker or a beat start late, and does not end it."""
    await wait_for(world.container, (), others=[SlowProbe()], patience=10)


async def test_without_patience_a_slow_answer_is_none(world: World) -> None:
    with pytest.raises(DependencyDown):
        await wait_for(world.container, (), others=[SlowProbe()], patience=0)
