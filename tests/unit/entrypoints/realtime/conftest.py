from collections.abc import AsyncIterator

import pytest

from tests.support.realtime import Sockets
from tests.support.world import World


@pytest.fixture
async def sockets(world: World) -> AsyncIterator[Sockets]:
    """Return the real-time API of the world, with events of this suite's own."""
    async with Sockets(world) as sockets:
        yield sockets
