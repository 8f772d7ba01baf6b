"""A world of its own for every test: what the suites that need no server have in common."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.builders import a_user
from tests.support.web import Web
from tests.support.world import World


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.end()


@pytest.fixture
async def web(world: World) -> AsyncIterator[Web]:
    """Return the HTTP application over the same world."""
    async with Web(world) as web:
        yield web


@pytest.fixture
async def admin_web(web: Web) -> Web:
    """Return the application and the client of an administrator."""
    administrator = await web.world.given(a_user(username="administrator", is_admin=True))
    web.client.headers.update(await web.bearer(administrator))
    return web
