"""The garbage collector of processes that serve."""

import gc
from collections.abc import Iterator

import pytest

from entrypoints import garbage_collection
from entrypoints.http.app import create_app
from tests.support.world import World


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.enable()
    gc.set_threshold(*before)


def test_loaded_objects_are_not_traversed_again() -> None:
    garbage_collection.freeze_heap()

    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[0] >= 10_000


def test_nothing_is_collected_while_a_process_loads_and_something_afterwards() -> None:
    garbage_collection.put_off()
    assert not gc.isenabled()

    garbage_collection.freeze_heap()
    assert gc.isenabled()


@pytest.mark.parametrize("owns_process", [True, False])
async def test_only_an_application_with_a_process_of_its_own_freezes_the_heap(
    world: World, *, owns_process: bool
) -> None:
    before = gc.get_threshold()
    app = create_app(container=world.container)
    assert not app.state.owns_process
    app.state.owns_process = owns_process

    async with app.router.lifespan_context(app):
        assert (gc.get_threshold() != before) is owns_process
