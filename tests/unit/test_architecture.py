"""What the import contracts cannot say; for what they can, see `[tool.importlinter]`."""

import ast
import fnmatch
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from typing_extensions import get_protocol_members, is_protocol

import adapters
import application.ports

ROOT = Path(__file__).parents[2]
LAYERS = ("domain", "application", "adapters", "entrypoints", "local_stack")

# Ports that nothing in memory has to stand in for.
NOTHING_TO_STAND_IN_FOR = {
    "Probe": "memory is never down",
    "Inspection": "memory is set up in one way",
    "Publisher": "what sends is the beat of Celery itself",
    "PublishingOptionsPolicy": "a table, which needs no server",
    "UnitOfWorkFactory": "the class of the units of work is one",
}

# Lua that belongs to no capability, because the scripts of several begin with it.
SHARED_LUA = {"gcra", "keep", "run_id", "run_id_of_master", "time"}

# Modules of ports whose adapters and contract tests have other file names.
OTHER_FILE_NAMES = {
    "health": "every technology has its own probes",
    "publisher": "what sends is the beat of Celery itself",
    "publishing_options": "a table, which needs no server",
    "run_log": "it writes the runs that the repository of runs reads",
    "system": "the clock, ids and secrets are those of the machine; the schema is that of the store",
    "unit_of_work": "each repository has a contract test, which commits through it",
}


def sources(*folders: str) -> list[str]:
    """Return every Python file below `folders`."""
    return sorted(
        str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py")
    )


def port_modules() -> list[str]:
    """Return the modules of ports for which file names are kept."""
    names = {path.stem for path in (ROOT / "application" / "ports").glob("[!_]*.py")}
    return sorted(names - OTHER_FILE_NAMES.keys())


def parsed(source: str) -> ast.Module:
    return ast.parse((ROOT / source).read_text())


def imported_by(source: str) -> set[str]:
    """Return the first word of every module that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def modules_of(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def classes_of(package: ModuleType) -> list[type]:
    """Return every class that is defined in a module of `package`."""
    return [
        cls
        for module in modules_of(package)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__
    ]


PORTS = [cls for cls in classes_of(application.ports) if is_protocol(cls)]
ADAPTERS = [cls for cls in classes_of(adapters) if not is_protocol(cls)]
IMPLEMENTATIONS = [(port, cls) for port in PORTS for cls in ADAPTERS if port in cls.__mro__]


# --- imports ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", sources("domain", "application"))
def test_domain_and_application_import_the_standard_library_and_each_other(source: str) -> None:
    assert imported_by(source) <= {*sys.stdlib_module_names, "domain", "application"}


@pytest.mark.parametrize("source", sources("local_stack"))
def test_the_local_stack_imports_the_standard_library_and_itself(source: str) -> None:
    """It starts servers for Portico, but knows nothing of it."""
    assert imported_by(source) <= {*sys.stdlib_module_names, "local_stack"}


@pytest.mark.parametrize("source", sources("domain"))
def test_the_domain_does_not_know_the_application(source: str) -> None:
    assert "application" not in imported_by(source)


@pytest.mark.parametrize("source", sources("domain", "application"))
def test_domain_and_application_do_not_say_who_carries_messages(source: str) -> None:
    """A port says what they need of it, in the words of the field. An address has its scheme."""
    text = (ROOT / source).read_text()
    said = re.findall(r"celery|kombu|amqp(?!s?(?:://|\"))", text, re.IGNORECASE)

    assert said == []


def test_the_composition_root_does_not_know_who_asks_it() -> None:
    assert "entrypoints" not in imported_by("bootstrap.py")


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source", [source for source in sources(*LAYERS) if source.endswith("__init__.py")]
)
def test_an_init_file_says_what_lives_there_and_does_nothing(source: str) -> None:
    assert ast.get_docstring(parsed(source))
    assert len(parsed(source).body) == 1


# --- ports and adapters -------------------------------------------------------------------------


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.__name__)
def test_every_port_has_an_adapter_that_needs_no_server(port: type) -> None:
    without_server = {
        cls
        for implemented, cls in IMPLEMENTATIONS
        if implemented is port
        and cls.__module__.startswith(("adapters.memory.", "adapters.system"))
    }
    assert bool(without_server) is (port.__name__ not in NOTHING_TO_STAND_IN_FOR)


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.__name__)
def test_an_adapter_that_is_named_for_a_port_inherits_it(port: type) -> None:
    named_for_it = [cls for cls in ADAPTERS if cls.__name__.endswith(port.__name__)]

    assert [cls.__qualname__ for cls in named_for_it if port not in cls.__mro__] == []


@pytest.mark.parametrize(
    ("port", "adapter"),
    IMPLEMENTATIONS,
    ids=[f"{adapter.__name__}-{port.__name__}" for port, adapter in IMPLEMENTATIONS],
)
def test_no_adapter_forgets_a_method_of_its_port(port: type, adapter: type) -> None:
    """An inherited `...` answers None to everything."""
    methods = {name for name in get_protocol_members(port) if vars(port).get(name)}
    definers = {name: next(cls for cls in adapter.__mro__ if name in vars(cls)) for name in methods}
    assert {name for name, definer in definers.items() if is_protocol(definer)} == set()


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.__name__)
def test_every_method_of_a_port_has_its_promise_in_its_docstring(port: type) -> None:
    methods = [name for name in get_protocol_members(port) if vars(port).get(name)]
    assert [name for name in methods if not inspect.getdoc(vars(port)[name])] == []


def test_this_test_sees_the_ports_and_their_adapters() -> None:
    names = {(port.__name__, adapter.__name__) for port, adapter in IMPLEMENTATIONS}
    assert {
        ("SessionStore", "MemorySessionStore"),
        ("SessionStore", "RedisSessionStore"),
        ("UserRepository", "MemoryUserRepository"),
        ("Clock", "SystemClock"),
    } <= names


@pytest.mark.parametrize("name", port_modules())
def test_a_port_its_adapters_and_its_contract_test_share_a_file_name(name: str) -> None:
    adapters = ROOT / "adapters"
    technologies = {found.relative_to(adapters).parts[0] for found in adapters.rglob(f"{name}.py")}

    assert "memory" in technologies
    assert technologies - {"memory"}
    assert (ROOT / "tests" / "contract" / f"test_{name}.py").exists()


def test_a_lua_script_is_named_for_the_module_that_runs_it() -> None:
    redis = ROOT / "adapters" / "redis"
    modules = {path.stem for path in redis.glob("*.py")}
    scripts = {path.stem for path in redis.glob("*.lua")}

    owned = {
        script
        for script in scripts
        if any(script == module or script.startswith(f"{module}_") for module in modules)
    }
    assert scripts - owned == SHARED_LUA


def test_the_files_of_a_port_are_found_as_the_readme_says() -> None:
    [pattern] = re.findall(r"`git ls-files '([^']+)'`", (ROOT / "README.md").read_text())

    assert fnmatch.filter(sources(*LAYERS, "tests"), pattern) == [
        "adapters/memory/outbox.py",
        "adapters/postgres/outbox.py",
        "application/ports/outbox.py",
        "application/use_cases/outbox.py",
        "tests/contract/test_outbox.py",
        "tests/unit/application/use_cases/test_outbox.py",
    ]
