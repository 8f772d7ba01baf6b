import pytest

from tests.support.realtime import Sockets
from tests.support.world import World


@pytest.fixture
def sockets(world: World) -> Sockets:
    """Return the real-time API of the world, with events of this suite's own."""
    return Sockets(world)
