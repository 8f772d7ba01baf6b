"""A world of its own for every test."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.web import Web
from tests.fakes.world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def web(world: World) -> AsyncIterator[Web]:
    """Return the HTTP application over the same world."""
    async with Web(world) as web:
        yield web
