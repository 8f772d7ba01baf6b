"""docs/realtime.md keeps its word: its blocks are executed, those for clients in tests/e2e and tests/integration."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from adapters.environment.load import load_settings
from entrypoints.celery.configuration import OWN_TASKS, configuration
from entrypoints.celery.typed import TypedCelery
from tests.support.builders import a_user
from tests.support.events import Events
from tests.support.readme import ROOT, apply, blocks, place_of
from tests.support.world import World

PAGE = (ROOT / "docs" / "realtime.md").read_text()


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """Return the modules that the page adds to the tree, by their names, importable by each other."""
    from entrypoints import realtime  # noqa: PLC0415 - whose attribute the new module becomes

    # The application of the workers takes its settings from the environment, and would keep the task.
    celery = ModuleType("entrypoints.celery.app")
    celery.app = TypedCelery("docs", set_as_current=False)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, celery.__name__, celery)
    added: dict[str, ModuleType] = {}
    for block in blocks("python", PAGE):
        file = tmp_path / place_of(block).replace("/", "-")
        file.write_text(block)
        name = place_of(block).removesuffix(".py").replace("/", ".")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        added[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        if name == "entrypoints.realtime.greetings":
            realtime.greetings = added[name]  # type: ignore[attr-defined]
        spec.loader.exec_module(added[name])
    yield added
    for name in added:
        del sys.modules[name]
    del realtime.greetings  # type: ignore[attr-defined]


async def test_the_handler_of_the_page_answers_as_its_test_says(
    modules: dict[str, ModuleType], world: World
) -> None:
    test = modules["tests.unit.entrypoints.realtime.test_greetings"]

    await test.test_a_greeting_is_answered(world)


async def test_handlers_are_given_what_the_page_says(modules: dict[str, ModuleType]) -> None:
    """In either order: the tests of the page share its module."""
    page = modules["tests.unit.test_auctions"]
    tests = [
        page.test_a_bid_that_is_refused_is_not_kept,
        page.test_a_namespace_has_handlers_of_its_own,
        page.test_dependencies_can_be_replaced,
    ]

    for test in tests:
        await test()
    modules["auctions"].bids.clear()
    for test in reversed(tests):
        await test()


def test_every_test_of_the_page_runs(modules: dict[str, ModuleType]) -> None:
    source = Path(__file__).read_text()
    tests = {
        name for module in modules.values() for name in vars(module) if name.startswith("test_")
    }

    assert tests - set(re.findall(r"\btest_\w+", source)) == set()


def test_the_change_of_a_file_that_the_page_shows_can_be_made(tmp_path: Path) -> None:
    [block] = blocks("diff", PAGE)
    (tmp_path / place_of(block)).parent.mkdir(parents=True)
    (tmp_path / place_of(block)).write_bytes((ROOT / place_of(block)).read_bytes())

    apply(block, tmp_path)


async def test_the_task_of_the_page_notifies_a_user(
    modules: dict[str, ModuleType], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, events = await world.given(a_user()), Events(world)
    [name] = task_modules(monkeypatch)

    async def container() -> object:
        return world.container

    monkeypatch.setattr(modules[name], "container", container)
    await modules[name].make.acall(str(ada.id))

    assert events.sent("notification") == [(f"user:{ada.id}", {"kind": "reports.made", "pages": 7})]


def task_modules(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the modules that workers import besides Portico's own, with the setting of the page."""
    [block] = blocks("dotenv", PAGE)
    monkeypatch.setenv("ENVIRONMENT", "LOCAL")
    monkeypatch.setenv(*block.strip().split("=", 1))
    return set(configuration(load_settings())["include"]) - {OWN_TASKS}


def test_every_block_of_the_page_is_executed() -> None:
    executed = {
        "chat_client.py",
        "chat_client.mjs",
        "entrypoints/realtime/greetings.py",
        "entrypoints/realtime/server.py",
        "auctions.py",
        "tests/unit/test_auctions.py",
        "entrypoints/celery/reports.py",
        "tests/unit/entrypoints/realtime/test_greetings.py",
    }
    places = {place_of(block).removeprefix("// ") for block in blocks("(?:python|js|diff)", PAGE)}

    assert places == executed
    # Besides them the setting; the one for nginx stands in a list.
    assert len(blocks(r"\w+", PAGE)) == len(executed) + 1
