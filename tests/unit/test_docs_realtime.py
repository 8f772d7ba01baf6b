"""docs/realtime.md keeps its word: its blocks are executed, those for clients in tests/e2e and tests/integration."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

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


def test_the_change_of_a_file_that_the_page_shows_can_be_made(tmp_path: Path) -> None:
    [block] = blocks("diff", PAGE)
    (tmp_path / place_of(block)).parent.mkdir(parents=True)
    (tmp_path / place_of(block)).write_bytes((ROOT / place_of(block)).read_bytes())

    apply(block, tmp_path)


async def test_the_task_of_the_page_notifies_a_user(
    modules: dict[str, ModuleType], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, events = await world.given(a_user()), Events(world)

    async def container() -> object:
        return world.container

    monkeypatch.setattr(modules["entrypoints.celery.reports"], "container", container)
    await modules["entrypoints.celery.reports"].make.acall(str(ada.id))

    assert events.sent("notification") == [(f"user:{ada.id}", {"kind": "reports.made", "pages": 7})]


def test_every_block_of_the_page_is_executed() -> None:
    executed = {
        "chat_client.py",
        "chat_client.mjs",
        "entrypoints/realtime/greetings.py",
        "entrypoints/realtime/server.py",
        "entrypoints/celery/reports.py",
        "tests/unit/entrypoints/realtime/test_greetings.py",
    }
    places = {place_of(block).removeprefix("// ") for block in blocks("(?:python|js|diff)", PAGE)}

    assert places == executed
    assert len(blocks(r"\w+", PAGE)) == len(executed)  # the one for nginx stands in a list
